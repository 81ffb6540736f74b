//! The cluster as decisions see it.
//!
//! One task owns it: it is changed between decisions and read during one, so that nothing is copied per decision. A node's
//! place (its index) stays while the node exists.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::Node;
use component_helpers::labels::{self, Labels};
use parking_lot::Mutex;

use super::{
    catalog::Catalog,
    evaluations::Evaluations,
    groups::{Group, Groups, HeldTerms, Meaning},
    node_info::NodeInfo,
    pod_info::{PodInfo, Term},
    topology::Column,
};

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
    /// What the pods on nodes say of other pods.
    pub held: HeldTerms,
    /// Counted on first use and kept up to date since: what was counted does not show in decisions.
    groups: Mutex<Groups>,
    /// By label; made on first use and kept up to date since.
    columns: Mutex<HashMap<String, Arc<Column>>>,
    /// By slot: changes whenever the node or the pods on it do, and never comes again. Zero: never used.
    generations: Vec<u32>,
    changes: u32,
    /// What was found out about nodes in their present generation: it does not show in decisions.
    pub(crate) evaluations: Mutex<Evaluations>,
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

    /// The node in a slot.
    #[must_use]
    pub fn at(&self, slot: usize) -> Option<&NodeInfo> {
        self.slots.get(slot)?.as_ref()
    }

    /// Tells the states of the node in the slot apart.
    #[must_use]
    pub fn generation(&self, slot: usize) -> u32 {
        self.generations.get(slot).copied().unwrap_or_default()
    }

    /// Whether some pod waits for room on the node.
    #[must_use]
    pub fn is_nominated(&self, node: &NodeInfo) -> bool {
        !self.nominated.is_empty() && self.nominated.contains_key(node.name())
    }

    fn touch(&mut self, slot: usize) {
        self.changes = self.changes.wrapping_add(1);
        if self.changes == 0 {
            // Begun anew: nothing that was kept under the old numbers may be taken for new.
            *self.evaluations.get_mut() = Evaluations::default();
            self.generations.iter_mut().for_each(|generation| *generation = 1);
            self.changes = 2;
        }
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        self.generations[slot] = self.changes;
    }

    /// How many of the meant pods are on each node.
    #[must_use]
    pub fn group(&self, meaning: Meaning) -> Arc<Group> {
        let nodes = self.slots.iter().flatten();
        self.groups.lock().get(meaning, nodes.flat_map(|node| node.pods.iter().map(|pod| (node.slot, pod))))
    }

    /// The places that a node label makes.
    #[must_use]
    pub fn column(&self, label: &str) -> Arc<Column> {
        let mut columns = self.columns.lock();
        if let Some(column) = columns.get(label) {
            return column.clone();
        }
        let mut column = Column::default();
        for node in self.slots.iter().flatten() {
            column.set(node.slot, node.label(label));
        }
        let column = Arc::new(column);
        columns.insert(label.to_owned(), column.clone());
        column
    }

    /// The namespaces that a term means.
    #[must_use]
    pub fn namespaces_of(&self, term: &Term) -> BTreeSet<String> {
        let mut all = term.namespaces.clone();
        if let Some(selector) = &term.namespace_selector {
            let namespaces = self.catalog.namespaces.iter();
            let picked = namespaces.filter(|(_, n)| labels::matches(selector, n.metadata.labels.as_ref()));
            all.extend(picked.map(|(name, _)| name.clone()));
        }
        all
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
        let at = match self.by_name.get(&name).copied() {
            Some(at) => {
                self.count_images(at, false);
                if let Some(info) = &mut self.slots[at] {
                    let zone_before = zone(info);
                    info.set_node(node);
                    self.order_is_stale |= zone_before != zone(info);
                }
                at
            }
            None => self.place_node(name, node),
        };
        self.count_images(at, true);
        self.label_node(at);
        self.touch(at);
    }

    fn place_node(&mut self, name: String, node: Arc<Node>) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let mut info = NodeInfo::new(node);
        info.slot = at;
        self.slots[at] = Some(info);
        self.by_name.insert(name, at);
        self.order_is_stale = true;
        at
    }

    /// Removes a node and gives back the pods on it.
    pub fn remove_node(&mut self, name: &str) -> Vec<Arc<PodInfo>> {
        let Some(at) = self.by_name.get(name).copied() else { return Vec::new() };
        let pods = self.slots[at].as_ref().map(|info| info.pods.clone()).unwrap_or_default();
        for pod in &pods {
            self.remove_pod(name, &pod.key);
        }
        self.by_name.remove(name);
        self.count_images(at, false);
        self.slots[at] = None;
        self.touch(at);
        self.label_node(at);
        self.free.push(at);
        self.order_is_stale = true;
        pods
    }

    /// Puts a pod on a node; false where there is no such node.
    pub fn add_pod(&mut self, node: &str, pod: Arc<PodInfo>) -> bool {
        let Some(at) = self.by_name.get(node).copied() else { return false };
        let Some(info) = &mut self.slots[at] else { return false };
        self.held.count(at, &pod, 1);
        self.groups.get_mut().count(at, &pod, 1);
        info.add_pod(pod);
        self.touch(at);
        true
    }

    /// Takes a pod off a node.
    pub fn remove_pod(&mut self, node: &str, key: &str) -> Option<Arc<PodInfo>> {
        let at = *self.by_name.get(node)?;
        let pod = self.slots[at].as_mut()?.remove_pod(key)?;
        self.held.count(at, &pod, -1);
        self.groups.get_mut().count(at, &pod, -1);
        self.touch(at);
        Some(pod)
    }

    /// Brings the places up to date with the labels of the node in the slot.
    fn label_node(&mut self, at: usize) {
        let limit = 2 * self.slots.len() + 1000;
        let columns = self.columns.get_mut();
        // Values that no node has any more are dropped with their column, which is made anew when it is asked for.
        columns.retain(|_, column| column.places() <= limit);
        for (label, column) in columns.iter_mut() {
            let value = self.slots[at].as_ref().and_then(|info| info.label(label));
            Arc::make_mut(column).set(at, value);
        }
    }

    /// Brings the order of nodes up to date; call after changes, before a decision.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.order_is_stale) {
            self.order = interleave(&self.slots);
        }
    }

    fn count_images(&mut self, at: usize, there: bool) {
        let images = self.slots[at].as_ref().map(|info| info.images.clone()).unwrap_or_default();
        for name in images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_insert(0);
            *count = if there { *count + 1 } else { count.saturating_sub(1) };
        }
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
