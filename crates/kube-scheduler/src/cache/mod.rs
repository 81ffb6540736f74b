//! The scheduler's view of the cluster: what the API server confirmed, and what was decided and is on its way there.

pub mod catalog;
pub(crate) mod evaluations;
mod groups;
mod node_info;
mod pod_info;
pub mod resources;
mod selector;
mod snapshot;
mod topology;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::Node;

pub use groups::{Group, HeldTerms, Meaning};
pub use node_info::NodeInfo;
pub use pod_info::{Affinity, PodInfo, Term, with_label_keys};
pub use selector::CompiledSelector;
pub use snapshot::Snapshot;
pub use topology::Column;

/// The snapshot and the pods that are assumed to run where they were just sent.
#[derive(Debug, Default)]
pub struct Cache {
    /// What decisions read.
    pub snapshot: Snapshot,
    /// Where each known pod is, by key.
    places: HashMap<Arc<str>, Place>,
    /// Pods on nodes that are not (or no longer) known, by the node's name.
    homeless: BTreeMap<String, Vec<Arc<PodInfo>>>,
}

#[derive(Debug)]
struct Place {
    node: String,
    uid: Arc<str>,
    /// Decided here, not yet seen through the watch.
    assumed: bool,
}

impl Cache {
    /// Adds or replaces a node. Pods that were seen on it before it was find their place.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.snapshot.set_node(node);
        for pod in self.homeless.remove(&name).unwrap_or_default() {
            self.snapshot.add_pod(&name, pod);
        }
    }

    /// Removes a node. Its pods stay known until they are deleted.
    pub fn remove_node(&mut self, name: &str) {
        let pods = self.snapshot.remove_node(name);
        if !pods.is_empty() {
            self.homeless.entry(name.to_owned()).or_default().extend(pods);
        }
    }

    /// Takes over a bound pod from the watch: confirms an assumption, corrects it, or updates the pod. Gives back the pod as
    /// the watch had it before.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        let was_assumed = self.is_assumed(&pod.key);
        let before = self.remove_pod(&pod.key).filter(|_| !was_assumed);
        if let Some(node) = pod.node_name().map(str::to_owned) {
            self.place(pod, node, false);
        }
        before
    }

    /// Counts a pod as running on `node` before the API server knows.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove_pod(&pod.key);
        self.place(pod, node.to_owned(), true);
    }

    /// Takes an assumption back; a pod that the watch confirmed stays.
    pub fn forget(&mut self, key: &str) {
        if self.places.get(key).is_some_and(|place| place.assumed) {
            self.remove_pod(key);
        }
    }

    /// Whether the pod (that very one, not a later one of the same name) is assumed or known to run somewhere.
    #[must_use]
    pub fn is_placed(&self, pod: &PodInfo) -> bool {
        self.places.get(&pod.key).is_some_and(|place| place.uid == pod.uid)
    }

    /// Whether the pod is assumed to run and not yet seen to.
    #[must_use]
    pub fn is_assumed(&self, key: &str) -> bool {
        self.places.get(key).is_some_and(|place| place.assumed)
    }

    /// Forgets a pod, wherever it is.
    pub fn remove_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let place = self.places.remove(key)?;
        if let Some(pod) = self.snapshot.remove_pod(&place.node, key) {
            return Some(pod);
        }
        let pods = self.homeless.get_mut(&place.node)?;
        let at = pods.iter().position(|p| &*p.key == key)?;
        let pod = pods.remove(at);
        if pods.is_empty() {
            self.homeless.remove(&place.node);
        }
        Some(pod)
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: String, assumed: bool) {
        self.places.insert(pod.key.clone(), Place { node: node.clone(), uid: pod.uid.clone(), assumed });
        if !self.snapshot.add_pod(&node, pod.clone()) {
            self.homeless.entry(node).or_default().push(pod);
        }
    }
}

#[cfg(test)]
mod tests;
