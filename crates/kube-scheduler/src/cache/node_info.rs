//! A node with the sums over the pods on it.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{Node, Taint};
use component_helpers::{labels::Labels, nodes, resources};

use super::{pod_info::PodInfo, resources::Resources};

/// A node, the pods on it, and what they take.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The object.
    pub node: Arc<Node>,
    /// Its place in the snapshot; stays as long as the node exists.
    pub slot: usize,
    /// The pods on it, assumed ones included.
    pub pods: Vec<Arc<PodInfo>>,
    /// The sum of the pods' requests.
    pub requested: Resources,
    /// The sum of what scores count of the pods.
    pub non_zero: Resources,
    /// What the node offers.
    pub allocatable: Resources,
    /// How many pods it may run.
    pub allowed_pods: i64,
    /// Images on the node: name and size in bytes.
    pub images: Arc<BTreeMap<String, i64>>,
}

impl NodeInfo {
    /// The node with nothing on it.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let mut info = NodeInfo {
            node: node.clone(),
            slot: usize::MAX,
            pods: Vec::new(),
            requested: Resources::default(),
            non_zero: Resources::default(),
            allocatable: Resources::default(),
            allowed_pods: 0,
            images: Arc::default(),
        };
        info.set_node(node);
        info
    }

    /// Replaces the object and keeps the pods.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let empty = BTreeMap::new();
        let allocatable = node.status.as_ref().and_then(|s| s.allocatable.as_ref()).unwrap_or(&empty);
        let amounts = resources::amounts(allocatable);
        self.allocatable = Resources::from(&amounts);
        self.allowed_pods = amounts.get("pods").copied().unwrap_or(0);
        self.images = Arc::new(images(&node));
        self.node = node;
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of the node's label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels()?.get(key).map(String::as_str)
    }

    /// The node's labels.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.node.metadata.labels.as_ref()
    }

    /// The node's taints.
    #[must_use]
    pub fn taints(&self) -> &[Taint] {
        nodes::node_taints(&self.node)
    }

    /// Puts a pod on the node.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.count(&pod, 1);
        self.pods.push(pod);
    }

    /// Takes the pod with that key off the node.
    pub fn remove_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| &*p.key == key)?;
        let pod = self.pods.remove(at);
        self.count(&pod, -1);
        Some(pod)
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        self.requested.add(&pod.requests, sign);
        self.non_zero.add(&pod.non_zero, sign);
    }
}

fn images(node: &Node) -> BTreeMap<String, i64> {
    let listed = node.status.as_ref().and_then(|s| s.images.as_deref()).unwrap_or_default();
    let named = listed
        .iter()
        .flat_map(|image| image.names.iter().flatten().map(|name| (name.clone(), image.size_bytes.unwrap_or(0))));
    named.collect()
}
