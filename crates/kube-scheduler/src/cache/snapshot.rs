//! The cluster as decisions see it.
//!
//! One task owns it: it is changed between decisions and read during one, so that nothing is copied per decision. A node's
//! place (its index) stays while the node exists.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::Node;
use component_helpers::labels::Labels;

use super::{catalog::Catalog, node_info::NodeInfo, pod_info::PodInfo};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

/// Nodes, the pods on them, and the other objects.
#[derive(Debug, Default)]
pub struct Snapshot {
    slots: Vec<Option<NodeInfo>>,
    free: Vec<usize>,
    by_name: HashMap<String, usize>,
    /// Slots in the order in which nodes are tried: one of each zone in turn.
    order: Vec<usize>,
    order_is_stale: bool,
    image_nodes: HashMap<String, usize>,
    affinity_nodes: BTreeSet<usize>,
    anti_affinity_nodes: BTreeSet<usize>,
    /// Pods that wait for room on a node, by its name.
    pub nominated: BTreeMap<String, Vec<Arc<PodInfo>>>,
    /// All other objects.
    pub catalog: Catalog,
}

impl Snapshot {
    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).and_then(|at| self.slots[*at].as_ref())
    }

    /// Every node, in the order in which they are tried. [`Snapshot::settle`] comes first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        debug_assert!(!self.order_is_stale, "settle() was not called");
        self.order.iter().filter_map(|at| self.slots[*at].as_ref())
    }

    /// The `index`-th node in the order in which they are tried.
    #[must_use]
    pub fn nth(&self, index: usize) -> Option<&NodeInfo> {
        self.order.get(index).and_then(|at| self.slots[*at].as_ref())
    }

    /// Nodes with pods that have terms towards other pods.
    pub fn nodes_with_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.affinity_nodes.iter().filter_map(|at| self.slots[*at].as_ref())
    }

    /// Nodes with pods that forbid other pods.
    pub fn nodes_with_required_anti_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.anti_affinity_nodes.iter().filter_map(|at| self.slots[*at].as_ref())
    }

    /// On how many nodes the image is.
    #[must_use]
    pub fn image_nodes(&self, image: &str) -> usize {
        self.image_nodes.get(image).copied().unwrap_or(0)
    }

    /// The labels of a namespace.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> Option<&Labels> {
        self.catalog.namespaces.get(namespace)?.metadata.labels.as_ref()
    }

    /// Adds or replaces a node.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(at) = self.by_name.get(&name).copied() {
            let zone_before = self.slots[at].as_ref().map(zone);
            self.count_images(at, false);
            if let Some(info) = &mut self.slots[at] {
                info.set_node(node);
                self.order_is_stale |= zone_before != Some(zone(info));
            }
            self.count_images(at, true);
            return;
        }
        let info = Some(NodeInfo::new(node));
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = info;
                at
            }
            None => {
                self.slots.push(info);
                self.slots.len() - 1
            }
        };
        self.by_name.insert(name, at);
        self.count_images(at, true);
        self.order_is_stale = true;
    }

    /// Removes a node and gives back the pods on it.
    pub fn remove_node(&mut self, name: &str) -> Vec<Arc<PodInfo>> {
        let Some(at) = self.by_name.remove(name) else { return Vec::new() };
        self.count_images(at, false);
        self.affinity_nodes.remove(&at);
        self.anti_affinity_nodes.remove(&at);
        self.free.push(at);
        self.order_is_stale = true;
        self.slots[at].take().map(|info| info.pods).unwrap_or_default()
    }

    /// Puts a pod on a node; false where there is no such node.
    pub fn add_pod(&mut self, node: &str, pod: Arc<PodInfo>) -> bool {
        let changed = self.with_node(node, |info| info.add_pod(pod));
        changed.is_some()
    }

    /// Takes a pod off a node.
    pub fn remove_pod(&mut self, node: &str, key: &str) -> Option<Arc<PodInfo>> {
        self.with_node(node, |info| info.remove_pod(key)).flatten()
    }

    /// Brings the order of nodes up to date; call after changes, before a decision.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.order_is_stale) {
            self.order = interleave(&self.slots);
        }
    }

    fn with_node<T>(&mut self, node: &str, change: impl FnOnce(&mut NodeInfo) -> T) -> Option<T> {
        let at = *self.by_name.get(node)?;
        let info = self.slots[at].as_mut()?;
        let result = change(info);
        let (affinity, anti) = (info.has_affinity(), info.has_required_anti_affinity());
        mark(&mut self.affinity_nodes, at, affinity);
        mark(&mut self.anti_affinity_nodes, at, anti);
        Some(result)
    }

    fn count_images(&mut self, at: usize, there: bool) {
        let images = self.slots[at].as_ref().map(|info| info.images.clone()).unwrap_or_default();
        for name in images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_insert(0);
            *count = if there { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

fn mark(set: &mut BTreeSet<usize>, at: usize, member: bool) {
    if member {
        set.insert(at);
    } else {
        set.remove(&at);
    }
}

fn zone(info: &NodeInfo) -> (String, String) {
    let label = |key| info.label(key).unwrap_or_default().to_owned();
    (label(REGION), label(ZONE))
}

/// Slots ordered so that neighbours lie in different zones, by name within a zone.
fn interleave(slots: &[Option<NodeInfo>]) -> Vec<usize> {
    let mut zones: BTreeMap<(String, String), BTreeMap<&str, usize>> = BTreeMap::new();
    for (at, info) in slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))) {
        zones.entry(zone(info)).or_default().insert(info.name(), at);
    }
    let mut rows: Vec<_> = zones.values().map(|nodes| nodes.values()).collect();
    let mut order = Vec::new();
    while !rows.is_empty() {
        rows.retain_mut(|row| row.next().map(|at| order.push(*at)).is_some());
    }
    order
}
