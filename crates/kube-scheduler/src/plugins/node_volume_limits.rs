//! NodeVolumeLimits: how many volumes of a CSI driver a node can attach.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot},
    framework::{ClusterEvent, Code, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter, Refusal},
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodeVolumeLimits",
    points: &[Point::PreFilter, Point::Filter],
    weight: 0,
    build: |_| Ok(Arc::new(NodeVolumeLimits)),
};

const REFUSAL: Refusal = Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) exceed max volume count")]);

struct NodeVolumeLimits;

/// Handles of volumes by the driver that attaches them.
type Attached = BTreeMap<String, BTreeSet<String>>;

#[derive(Clone)]
struct Filter<'a> {
    snapshot: &'a Snapshot,
    wanted: Attached,
}

impl Plugin for NodeVolumeLimits {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        if cx.snapshot.catalog.csi_nodes.is_empty() {
            return PreFilter::Skip;
        }
        let mut wanted = Attached::new();
        collect(cx.pod, cx.snapshot, &mut wanted);
        if wanted.is_empty() { PreFilter::Skip } else { PreFilter::filter(Filter { snapshot: cx.snapshot, wanted }) }
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::AssignedPodDeleted(_) | ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::Other(kind) => matches!(*kind, "CSINode" | "PersistentVolumeClaim"),
            _ => false,
        }
    }
}

/// The pod's volumes: bound ones by their handle, unbound ones by their claim under the driver that will provision them.
fn collect(pod: &PodInfo, snapshot: &Snapshot, into: &mut Attached) {
    for claim in super::volume_binding::claims(Context { snapshot, pod }) {
        let Some(spec) = claim.object.and_then(|c| c.spec.as_ref()) else { continue };
        let volume = spec.volume_name.as_ref().and_then(|name| snapshot.catalog.volumes.get(name));
        if let Some(volume) = volume {
            if let Some(csi) = volume.spec.as_ref().and_then(|s| s.csi.as_ref()) {
                into.entry(csi.driver.clone()).or_default().insert(csi.volume_handle.clone());
            }
        } else if let Some(class) =
            spec.storage_class_name.as_ref().and_then(|name| snapshot.catalog.storage_classes.get(name))
        {
            into.entry(class.provisioner.clone()).or_default().insert(format!("claim {}", claim.key));
        }
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let Some(csi) = self.snapshot.catalog.csi_nodes.get(node.name()) else { return Ok(()) };
        let limit = |driver: &str| csi.spec.drivers.iter().find(|d| d.name == driver)?.allocatable.as_ref()?.count;
        let limits: Vec<_> =
            self.wanted.iter().filter_map(|(driver, handles)| Some((driver, handles, limit(driver)?))).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let mut attached = Attached::new();
        node.pods.iter().for_each(|pod| collect(pod, self.snapshot, &mut attached));
        for (driver, handles, limit) in limits {
            let there = attached.get(driver);
            let new = handles.iter().filter(|h| there.is_none_or(|t| !t.contains(*h))).count();
            if new > 0 && there.map_or(0, BTreeSet::len) + new > usize::try_from(limit).unwrap_or(0) {
                return Err(REFUSAL);
            }
        }
        Ok(())
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
