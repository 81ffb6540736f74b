//! SchedulingGates: a pod with gates does not enter the queue.

use std::sync::Arc;

use crate::{
    cache::{PodInfo, catalog::Catalog},
    framework::{ClusterEvent, Descriptor, Plugin, Point, Refusal},
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "SchedulingGates",
    points: &[Point::PreEnqueue],
    weight: 0,
    build: |_| Ok(Arc::new(SchedulingGates)),
};

struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo, _catalog: &Catalog) -> Result<(), Refusal> {
        let gates = pod.spec().and_then(|s| s.scheduling_gates.as_deref()).unwrap_or_default();
        if gates.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = gates.iter().map(|g| g.name.as_str()).collect();
        Err(Refusal::unresolvable(format!("waiting for scheduling gates: [{}]", names.join(" "))))
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::PodUpdated(..))
    }
}
