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
    /// What VolumeAttachments say, by node.
    leftovers: Arc<BTreeMap<&'a str, Attached>>,
}

impl Plugin for NodeVolumeLimits {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        if cx.snapshot.catalog.csi_nodes.is_empty() {
            return PreFilter::Skip;
        }
        let mut wanted = Attached::new();
        collect(cx.pod, cx.snapshot, &mut wanted);
        if wanted.is_empty() {
            return PreFilter::Skip;
        }
        let leftovers = Arc::new(attachments(cx.snapshot));
        PreFilter::filter(Filter { snapshot: cx.snapshot, wanted, leftovers })
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::AssignedPodDeleted(_) | ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::Other(kind) => matches!(*kind, "CSINode" | "PersistentVolumeClaim" | "VolumeAttachment"),
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

/// The volumes that are attached, or being so, to each node.
fn attachments(snapshot: &Snapshot) -> BTreeMap<&str, Attached> {
    let mut nodes: BTreeMap<&str, Attached> = BTreeMap::new();
    for attachment in snapshot.catalog.attachments.values() {
        let volume = attachment.spec.source.persistent_volume_name.as_ref();
        let volume = volume.and_then(|name| snapshot.catalog.volumes.get(name));
        if let Some(csi) = volume.and_then(|v| v.spec.as_ref()).and_then(|s| s.csi.as_ref()) {
            let on_node = nodes.entry(&attachment.spec.node_name).or_default();
            on_node.entry(csi.driver.clone()).or_default().insert(csi.volume_handle.clone());
        }
    }
    nodes
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
        // A volume may still be attached though its pod is gone.
        let mut attached = self.leftovers.get(node.name()).cloned().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{cache::Cache, config::ProfileConfig, framework::Profile, schedule::schedule};

    fn object<T: serde::de::DeserializeOwned>(json: Value) -> Arc<T> {
        Arc::new(serde_json::from_value(json).unwrap())
    }

    fn pod(name: &str, claim: &str, node: Option<&str>) -> PodInfo {
        let volume = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
        PodInfo::new(object(json!({"metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"nodeName": node, "volumes": volume, "containers": [{"name": "c"}]}})))
    }

    /// A node that can attach one volume; claims c1 and c2 with volumes v1 and v2.
    fn cluster() -> Cache {
        let mut cache = Cache::default();
        cache.set_node(object(
            json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "9"}}}),
        ));
        let driver = json!([{"name": "csi", "nodeID": "n", "allocatable": {"count": 1}}]);
        let catalog = &mut cache.snapshot.catalog;
        catalog
            .csi_nodes
            .insert("n".to_owned(), object(json!({"metadata": {"name": "n"}, "spec": {"drivers": driver}})));
        for number in ["1", "2"] {
            let csi = json!({"csi": {"driver": "csi", "volumeHandle": format!("h{number}")}});
            catalog
                .volumes
                .insert(format!("v{number}"), object(json!({"metadata": {"name": format!("v{number}")}, "spec": csi})));
            let claim = json!({"metadata": {"name": format!("c{number}"), "namespace": "d", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
                "spec": {"volumeName": format!("v{number}")}, "status": {"phase": "Bound"}});
            catalog.claims.insert(format!("d/c{number}"), object(claim));
        }
        cache
    }

    fn outcome(cache: &mut Cache, pod: &PodInfo) -> Result<(), String> {
        cache.snapshot.settle();
        let profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
        schedule(&profile, &cache.snapshot, pod, &mut 0, &mut |_| 0).map(drop).map_err(|why| why.message())
    }

    fn full(result: Result<(), String>) -> bool {
        result.is_err_and(|message| message.starts_with("0/1 nodes are available: 1 node(s) exceed max volume count."))
    }

    #[test]
    fn volumes_count_once_and_up_to_the_limit() {
        let mut cache = cluster();
        assert_eq!(outcome(&mut cache, &pod("p", "c1", None)), Ok(()));
        cache.set_pod(Arc::new(pod("other", "c1", Some("n"))));
        assert_eq!(outcome(&mut cache, &pod("p", "c1", None)), Ok(()), "the same volume");
        assert!(full(outcome(&mut cache, &pod("q", "c2", None))));
    }

    #[test]
    fn what_is_still_attached_counts() {
        let mut cache = cluster();
        let attachment = json!({"metadata": {"name": "a"}, "spec": {"attacher": "csi", "nodeName": "n", "source": {"persistentVolumeName": "v1"}}});
        cache.snapshot.catalog.attachments.insert("a".to_owned(), object(attachment));
        assert!(full(outcome(&mut cache, &pod("q", "c2", None))));
        assert_eq!(outcome(&mut cache, &pod("p", "c1", None)), Ok(()), "it is there already");
    }
}
