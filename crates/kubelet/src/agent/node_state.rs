//! What the kubelet knows of its own node.

use crate::config::Config;
use crate::host::Machine;
use crate::node::capacity;
use api_types::k8s_openapi::api::core::v1::Node;
use component_helpers::resources::Amounts;
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::Notify;

struct State {
    object: Option<Arc<Node>>,
    host_ips: Vec<String>,
    runtime: Result<(), String>,
    network: Result<(), String>,
    relisted: bool,
}

/// The node's object, addresses and health.
pub(crate) struct NodeState {
    allocatable: Amounts,
    state: RwLock<State>,
    changed: Notify,
}

impl NodeState {
    /// Nothing known but what the configuration says.
    pub(crate) fn new(config: &Config, machine: &Machine) -> Self {
        let state = State {
            object: None,
            host_ips: config.node.ips.iter().map(ToString::to_string).collect(),
            runtime: Err("container runtime status check may not have completed yet".into()),
            network: Err("container runtime status check may not have completed yet".into()),
            relisted: false,
        };
        Self {
            allocatable: capacity::allocatable_amounts(config, machine),
            state: RwLock::new(state),
            changed: Notify::new(),
        }
    }

    /// What pods may use, as amounts.
    pub(crate) fn allocatable(&self) -> Amounts {
        self.allocatable.clone()
    }

    /// The node's addresses.
    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.state.read().host_ips.clone()
    }

    /// Sets the addresses.
    pub(crate) fn set_host_ips(&self, ips: Vec<String>) {
        self.state.write().host_ips = ips;
    }

    /// The node object, once read.
    pub(crate) fn object(&self) -> Option<Arc<Node>> {
        self.state.read().object.clone()
    }

    /// Sets the node object.
    pub(crate) fn set_object(&self, node: Arc<Node>) {
        let cidrs = pod_cidrs(&node);
        let before = self.state.write().object.replace(node);
        if before.map(|node| pod_cidrs(&node)) != Some(cidrs) {
            self.changed.notify_one();
        }
    }

    /// The node's pod networks, once it has some.
    pub(crate) fn pod_cidrs(&self) -> Vec<String> {
        self.state.read().object.as_deref().map(pod_cidrs).unwrap_or_default()
    }

    /// Waits for a change of the pod networks or of the health: what the node object has to follow at once. For one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What the runtime said of itself and of the network; whether the network has just become ready.
    pub(crate) fn set_health(&self, runtime: Result<(), String>, network: Result<(), String>) -> bool {
        let mut state = self.state.write();
        let up = state.network.is_err() && network.is_ok();
        if (state.runtime.is_ok(), state.network.is_ok()) != (runtime.is_ok(), network.is_ok()) {
            self.changed.notify_one();
        }
        (state.runtime, state.network) = (runtime, network);
        up
    }

    /// The containers have been listed once.
    pub(crate) fn set_relisted(&self) {
        if !std::mem::replace(&mut self.state.write().relisted, true) {
            self.changed.notify_one();
        }
    }

    /// Why the runtime is not ready.
    pub(crate) fn runtime_error(&self) -> Option<String> {
        let state = self.state.read();
        match &state.runtime {
            Err(why) => Some(why.clone()),
            Ok(()) if !state.relisted => Some("PLEG is not healthy: pleg has yet to be successful".into()),
            Ok(()) => None,
        }
    }

    /// Why the network is not ready.
    pub(crate) fn network_error(&self) -> Option<String> {
        self.state.read().network.clone().err()
    }
}

fn pod_cidrs(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    match &spec.pod_cidrs {
        Some(all) if !all.is_empty() => all.clone(),
        _ => spec.pod_cidr.iter().filter(|cidr| !cidr.is_empty()).cloned().collect(),
    }
}
