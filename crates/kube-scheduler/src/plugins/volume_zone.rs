//! VolumeZone: a volume labelled with a zone is reached from nodes of that zone only.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{ClusterEvent, Code, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter, Refusal},
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "VolumeZone",
    points: &[Point::PreFilter, Point::Filter],
    weight: 0,
    build: |_| Ok(Arc::new(VolumeZone)),
};

const REFUSAL: Refusal = Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) had no available volume zone")]);
/// The labels that count, each with the other name that it goes by.
const LABELS: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

struct VolumeZone;

/// The label, its other name, and the values that will do.
type Wanted = (&'static str, &'static str, BTreeSet<String>);

#[derive(Clone)]
struct Filter(Vec<Wanted>);

impl Plugin for VolumeZone {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let mut wanted = Vec::new();
        for claim in super::volume_binding::claims(cx) {
            let bound = claim.object.and_then(|c| c.spec.as_ref()?.volume_name.as_ref());
            let volume = bound.and_then(|name| cx.snapshot.catalog.volumes.get(name));
            let labels = volume.and_then(|v| v.metadata.labels.as_ref());
            for (label, other) in LABELS {
                if let Some(value) = labels.and_then(|l| l.get(label)) {
                    wanted.push((label, other, value.split("__").map(str::to_owned).collect()));
                }
            }
        }
        if wanted.is_empty() { PreFilter::Skip } else { PreFilter::filter(Filter(wanted)) }
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated(before, after) => before.metadata.labels != after.metadata.labels,
            ClusterEvent::Other(kind) => matches!(*kind, "PersistentVolumeClaim" | "PersistentVolume" | "StorageClass"),
            _ => false,
        }
    }
}

impl<'a> NodeFilter<'a> for Filter {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let any_zone = LABELS.iter().any(|(label, _)| node.label(label).is_some());
        let fits = |(label, other, values): &Wanted| {
            let value = node.label(label).or_else(|| node.label(other));
            value.is_some_and(|value| values.contains(value))
        };
        // A node without any such label is of a cluster without zones: upstream lets it pass.
        if !any_zone || self.0.iter().all(fits) { Ok(()) } else { Err(REFUSAL) }
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
