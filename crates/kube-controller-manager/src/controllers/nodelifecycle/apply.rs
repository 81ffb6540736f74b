//! One pass over all nodes.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, NodeCondition, Pod},
};
use component_helpers::{conditions, pods as helpers};
use controller_runtime::{EventRecorder, ObjectKey, Store};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    LEASES,
    plan::{self, Heard},
    zones::{self, Zones},
};
use crate::{config::NodeLifecycle, pods};

pub(super) struct Monitor {
    pub(super) client: Client,
    pub(super) recorder: EventRecorder,
    pub(super) nodes: Store<Node>,
    pub(super) leases: Store<Lease>,
    pub(super) pods: Store<Pod>,
    pub(super) config: NodeLifecycle,
    /// When each node was last heard.
    pub(super) known: BTreeMap<String, Heard>,
    pub(super) zones: Zones,
}

impl Monitor {
    /// Looks at all nodes. What fails is logged and done at the next pass.
    pub(super) async fn pass(&mut self) {
        let mut nodes = self.nodes.list();
        self.forget_gone(&nodes);
        for node in &mut nodes {
            if let Some(changed) = self.hear(node).await {
                *node = Arc::new(changed);
            }
        }
        let now = component_base::clock::now();
        let was_lost = self.zones.all_lost();
        self.zones.update(nodes.iter().map(AsRef::as_ref), &self.config, now);
        if was_lost && !self.zones.all_lost() {
            // We were cut off: everybody gets a new grace period.
            self.known.values_mut().for_each(|heard| heard.at = now);
        }
        for node in &nodes {
            self.taint(node).await;
            if plan::ready_status(node) != "True" {
                self.mark_pods(node).await;
            }
        }
    }

    fn forget_gone(&mut self, nodes: &[Arc<Node>]) {
        let gone = |name: &String| !nodes.iter().any(|node| node.metadata.name.as_ref() == Some(name));
        let gone: Vec<_> = self.known.keys().filter(|name| gone(name)).cloned().collect();
        gone.iter().for_each(|name| drop(self.known.remove(name)));
    }

    /// Takes a node's signs of life in; returns the node as changed when it fell silent.
    async fn hear(&mut self, node: &Node) -> Option<Node> {
        let (name, now) = (node.name_any(), component_base::clock::now());
        let lease = self.leases.get_in(LEASES, &name);
        let known = self.known.get(&name);
        if known.is_none() {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.recorder.normal(node, "RegisteredNode", message);
        }
        let heard = plan::listen(known, node, lease.as_deref(), now);
        let silent = plan::silent(node, &heard, &self.config, now);
        self.known.insert(name.clone(), heard);
        let conditions = silent?;
        tracing::info!(node = %name, "the kubelet is silent");
        match self.write_conditions(node, conditions).await {
            Ok(changed) => {
                self.recorder.normal(node, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
                Some(changed)
            }
            Err(error) => {
                tracing::warn!(node = %name, %error, "could not mark a silent node");
                None
            }
        }
    }

    async fn write_conditions(&self, node: &Node, conditions: Vec<NodeCondition>) -> Result<Node, kube::Error> {
        let patch = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version}, "status": {"conditions": conditions}
        });
        Api::all(self.client.clone())
            .patch_status(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    async fn taint(&mut self, node: &Node) {
        let wanted = if self.zones.all_lost() { None } else { plan::eviction_taint(node) };
        let evict = if !plan::needs_eviction_change(node, wanted) {
            None
        } else if wanted.is_none() || self.zones.take(&zones::of(node)) {
            Some(wanted)
        } else {
            None
        };
        let Some(taints) = plan::taints(node, evict, component_base::clock::now()) else { return };
        let patch =
            json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        let api = Api::<Node>::all(self.client.clone());
        match api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {}
            // The next pass sees the change that came between.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            Err(error) => tracing::warn!(node = %node.name_any(), %error, "could not set taints"),
        }
    }

    /// Takes the readiness of a lost node's pods back, so that services do not send there.
    async fn mark_pods(&self, node: &Node) {
        for pod in self.pods.by_index(pods::BY_NODE, &node.name_any()) {
            if !helpers::is_ready(&pod) || helpers::is_terminal(&pod) {
                continue;
            }
            let mut status = pod.status.clone().unwrap_or_default();
            let known = conditions::find(status.conditions.as_ref(), "Ready").cloned().unwrap_or_default();
            let mut condition = known;
            condition.status = "False".to_owned();
            conditions::set(&mut status.conditions, condition, component_base::clock::now());
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": status.conditions}});
            let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
            self.recorder.warning(pod.as_ref(), "NodeNotReady", "Node is not ready");
            match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(pod = %ObjectKey::of(pod.as_ref()), %error, "could not mark a pod not ready")
                }
            }
        }
    }
}
