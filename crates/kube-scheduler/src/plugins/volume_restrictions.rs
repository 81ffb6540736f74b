//! VolumeRestrictions: disks and claims that only one pod may use at a time.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{Pod, Volume};

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot},
    framework::{ClusterEvent, Code, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter, Refusal},
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "VolumeRestrictions",
    points: &[Point::PreFilter, Point::Filter],
    weight: 0,
    build: |_| Ok(Arc::new(VolumeRestrictions)),
};

const DISK: Refusal = Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) had no available disk")]);
const CLAIM: Refusal = Refusal::fixed(
    Code::Unschedulable,
    &[Cow::Borrowed("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")],
);

struct VolumeRestrictions;

#[derive(Clone)]
struct Filter<'a> {
    pod: &'a PodInfo,
    /// Claims of the pod that only one pod in the cluster may use.
    exclusive: BTreeSet<&'a str>,
    /// How many times such claims are in use by others.
    users: i64,
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default()
}

fn claims(pod: &Pod) -> impl Iterator<Item = &str> {
    volumes(pod).iter().filter_map(|v| v.persistent_volume_claim.as_ref()).map(|c| c.claim_name.as_str())
}

fn exclusive_claims<'a>(pod: &'a PodInfo, snapshot: &Snapshot) -> BTreeSet<&'a str> {
    let is_exclusive = |name: &&str| {
        let claim = snapshot.catalog.claims.get(&format!("{}/{name}", pod.namespace()));
        let modes = claim.and_then(|c| c.spec.as_ref()).and_then(|s| s.access_modes.as_deref()).unwrap_or_default();
        modes.iter().any(|m| m == "ReadWriteOncePod")
    };
    claims(&pod.pod).filter(is_exclusive).collect()
}

impl Filter<'_> {
    fn uses(&self, other: &PodInfo) -> i64 {
        if other.namespace() != self.pod.namespace() {
            return 0;
        }
        claims(&other.pod).filter(|name| self.exclusive.contains(name)).count() as i64
    }
}

impl Plugin for VolumeRestrictions {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let exclusive = exclusive_claims(cx.pod, cx.snapshot);
        if exclusive.is_empty() && !volumes(&cx.pod.pod).iter().any(is_single_disk) {
            return PreFilter::Skip;
        }
        let mut filter = Filter { pod: cx.pod, exclusive, users: 0 };
        if !filter.exclusive.is_empty() {
            filter.users = cx.snapshot.nodes().flat_map(|n| &n.pods).map(|p| filter.uses(p)).sum();
        }
        PreFilter::filter(filter)
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::AssignedPodDeleted(gone) => {
                gone.namespace() == pod.namespace() || volumes(&gone.pod).iter().any(is_single_disk)
            }
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::Other(kind) => *kind == "PersistentVolumeClaim",
            _ => false,
        }
    }
}

fn is_single_disk(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Whether both cannot be mounted on one node. Readers share where the disk's kind allows it.
fn conflict(a: &Volume, b: &Volume) -> bool {
    if let (Some(a), Some(b)) = (&a.gce_persistent_disk, &b.gce_persistent_disk) {
        return a.pd_name == b.pd_name && !(a.read_only == Some(true) && b.read_only == Some(true));
    }
    if let (Some(a), Some(b)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store) {
        return a.volume_id == b.volume_id;
    }
    if let (Some(a), Some(b)) = (&a.iscsi, &b.iscsi) {
        return a.iqn == b.iqn && !(a.read_only == Some(true) && b.read_only == Some(true));
    }
    if let (Some(a), Some(b)) = (&a.rbd, &b.rbd) {
        let same_image = a.pool == b.pool && a.image == b.image && a.monitors.iter().any(|m| b.monitors.contains(m));
        return same_image && !(a.read_only == Some(true) && b.read_only == Some(true));
    }
    false
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let wanted = || volumes(&self.pod.pod).iter().filter(|v| is_single_disk(v));
        let mut there = node.pods.iter().flat_map(|p| volumes(&p.pod));
        if there.any(|volume| wanted().any(|w| conflict(w, volume))) {
            return Err(DISK);
        }
        if self.users > 0 { Err(CLAIM) } else { Ok(()) }
    }

    fn add_pod(&mut self, pod: &PodInfo, _node: &NodeInfo) {
        self.users += self.uses(pod);
    }

    fn remove_pod(&mut self, pod: &PodInfo, _node: &NodeInfo) {
        self.users -= self.uses(pod);
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
