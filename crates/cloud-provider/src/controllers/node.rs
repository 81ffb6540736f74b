//! cloud-node-controller: tells a new node's object what the cloud knows of its machine, and then lets pods onto it.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{Node, NodeAddress};
use component_helpers::{nodes, taints};
use controller_runtime::{Action, EventType, ObjectKey, Outcome, WorkQueue, events, run_workers};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Context;
use crate::InstanceMetadata;

const PROVIDED_IP: &str = "alpha.kubernetes.io/provided-node-ip";

pub(super) fn start(context: &Context) {
    if context.cloud.instances().is_none() {
        return;
    }
    let queue = WorkQueue::new();
    let informer = context.informers.informer::<Node>();
    informer.enqueue_to(&queue);
    let (nodes, context) = (informer.store().clone(), context.clone());
    let (tasks, shutdown, workers) = (context.tasks.clone(), context.shutdown.clone(), context.node_workers);
    run_workers("cloud-node-controller", &queue, workers, &tasks, &shutdown, move |key: ObjectKey| {
        let (context, node) = (context.clone(), nodes.get(&key));
        async move {
            match node {
                Some(node) => reconcile(&context, &node).await,
                None => Ok(Action::Done),
            }
        }
    });
}

async fn reconcile(context: &Context, node: &Arc<Node>) -> Outcome {
    let Some(instances) = context.cloud.instances() else { return Ok(Action::Done) };
    let metadata = instances.instance(node).await?;
    let waits = is_uninitialized(node);
    let Some(metadata) = metadata else {
        // Whether the node is to be deleted is the lifecycle loop's question.
        return if waits {
            Err(format!("the cloud has no instance for node {}", name(node)).into())
        } else {
            Ok(Action::Done)
        };
    };
    let api: Api<Node> = Api::all(context.client.clone());
    if let Some(status) = plan_addresses(node, &metadata)? {
        api.patch_status(name(node), &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    if let Some(patch) = waits.then(|| plan_initialization(node, &metadata)) {
        api.patch(name(node), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        context.recorder.with_component("cloud-node-controller").event(
            events::reference(&**node),
            EventType::Normal,
            "Synced",
            "Node synced successfully",
        );
    }
    Ok(Action::RequeueAfter(context.node_status_period))
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

fn is_uninitialized(node: &Node) -> bool {
    nodes::node_taints(node).iter().any(|t| t.key == taints::UNINITIALIZED)
}

/// The addresses as they should be, where they are not. The one that the kubelet was given comes first of its type, and must be the machine's.
fn plan_addresses(node: &Node, metadata: &InstanceMetadata) -> Result<Option<Value>, String> {
    let mut wanted = metadata.addresses.clone();
    if let Some(provided) = node.metadata.annotations.as_ref().and_then(|a| a.get(PROVIDED_IP)) {
        let Some(at) = wanted.iter().position(|a| a.address == *provided) else {
            return Err(format!(
                "node {} was given the address {provided}, which its machine does not have",
                name(node)
            ));
        };
        let provided: NodeAddress = wanted.remove(at);
        wanted.insert(0, provided);
    }
    let known = node.status.as_ref().and_then(|s| s.addresses.clone()).unwrap_or_default();
    Ok((known != wanted).then(|| json!({"status": {"addresses": wanted}})))
}

/// Labels, provider ID, and the taint gone. Refers to the version that it was made from: taints are replaced as a whole.
fn plan_initialization(node: &Node, metadata: &InstanceMetadata) -> Value {
    let labels = [
        ("node.kubernetes.io/instance-type", &metadata.instance_type),
        ("beta.kubernetes.io/instance-type", &metadata.instance_type),
        ("topology.kubernetes.io/zone", &metadata.zone),
        ("failure-domain.beta.kubernetes.io/zone", &metadata.zone),
        ("topology.kubernetes.io/region", &metadata.region),
        ("failure-domain.beta.kubernetes.io/region", &metadata.region),
    ];
    let labels: serde_json::Map<String, Value> = labels
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    let left: Vec<_> = nodes::node_taints(node).iter().filter(|t| t.key != taints::UNINITIALIZED).collect();
    let mut spec = json!({"taints": if left.is_empty() { Value::Null } else { json!(left) }});
    let has_id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).is_some_and(|id| !id.is_empty());
    if !has_id && !metadata.provider_id.is_empty() {
        spec["providerID"] = json!(metadata.provider_id);
    }
    json!({"metadata": {"labels": labels, "resourceVersion": node.metadata.resource_version}, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    fn metadata() -> InstanceMetadata {
        let address = |type_: &str, address: &str| NodeAddress { type_: type_.into(), address: address.into() };
        InstanceMetadata {
            provider_id: "x://n".into(),
            instance_type: "big".into(),
            addresses: vec![address("Hostname", "n"), address("InternalIP", "10.0.0.1")],
            zone: "a".into(),
            region: String::new(),
        }
    }

    #[test]
    fn initialization_takes_only_its_own_taint() {
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});
        let patch = plan_initialization(
            &node(json!({"spec": {"taints": [taint(taints::UNINITIALIZED), taint("mine")]}})),
            &metadata(),
        );
        assert_eq!(patch["spec"], json!({"taints": [taint("mine")], "providerID": "x://n"}));
        assert_eq!(patch["metadata"]["labels"]["topology.kubernetes.io/zone"], "a");
        assert!(patch["metadata"]["labels"].get("topology.kubernetes.io/region").is_none());
        let patch = plan_initialization(
            &node(json!({"spec": {"providerID": "y://n", "taints": [taint(taints::UNINITIALIZED)]}})),
            &metadata(),
        );
        assert_eq!(patch["spec"], json!({"taints": null}), "an ID never changes");
    }

    #[test]
    fn addresses_are_the_machines_with_the_provided_one_first() {
        let given = |ip: &str| node(json!({"metadata": {"name": "n", "annotations": {PROVIDED_IP: ip}}}));
        let plan = plan_addresses(&given("10.0.0.1"), &metadata()).unwrap().unwrap();
        assert_eq!(plan["status"]["addresses"][0]["address"], "10.0.0.1");
        assert!(plan_addresses(&given("10.0.0.9"), &metadata()).is_err());
        let mut same = node(json!({"metadata": {"name": "n"}}));
        same.status.get_or_insert_default().addresses = Some(metadata().addresses);
        assert_eq!(plan_addresses(&same, &metadata()).unwrap(), None);
    }
}
