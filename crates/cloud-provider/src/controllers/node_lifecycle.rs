//! cloud-node-lifecycle-controller: deletes the nodes whose machines are gone, and taints those whose machines are shut down.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{Node, Taint};
use component_helpers::{nodes, taints};
use controller_runtime::{EventType, events};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Context, repeat};
use crate::CloudError;

pub(super) fn start(context: &Context) {
    if context.cloud.instances().is_none() {
        return;
    }
    let store = context.informers.informer::<Node>().store().clone();
    let (context, shutdown) = (context.clone(), context.shutdown.clone());
    let (tasks, period) = (context.tasks.clone(), context.node_monitor_period);
    tasks.spawn(async move {
        let check = || async {
            for node in store.list() {
                if let Err(error) = look_after(&context, &node).await {
                    tracing::warn!(node = %name(&node), %error, "could not look after the node");
                }
            }
        };
        repeat(period, Arc::new(Notify::new()), shutdown, check).await;
    });
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// What is to be done with a node.
#[derive(Debug, PartialEq)]
enum Step {
    Leave,
    Delete,
    /// Sets the taints.
    Taint(Value),
}

/// A machine, as the cloud sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Machine {
    Runs,
    ShutDown,
    Gone,
}

fn plan(node: &Node, machine: Machine) -> Step {
    let is_tainted = nodes::node_taints(node).iter().any(|t| t.key == taints::SHUTDOWN);
    let mut changed = node.clone();
    match machine {
        Machine::Gone => return Step::Delete,
        Machine::ShutDown if !is_tainted => {
            let taint =
                Taint { key: taints::SHUTDOWN.to_owned(), effect: taints::NO_SCHEDULE.to_owned(), ..Taint::default() };
            nodes::add_taint(&mut changed, taint);
        }
        Machine::Runs if is_tainted => {
            nodes::remove_taint(&mut changed, taints::SHUTDOWN, taints::NO_SCHEDULE);
        }
        _ => return Step::Leave,
    }
    let left = nodes::node_taints(&changed);
    let left = if left.is_empty() { Value::Null } else { json!(left) };
    Step::Taint(json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": left}}))
}

/// A ready node's machine runs: the cloud is asked only about the others.
async fn machine(context: &Context, node: &Node) -> Result<Machine, CloudError> {
    let Some(instances) = context.cloud.instances() else { return Ok(Machine::Runs) };
    if nodes::is_ready(node) {
        return Ok(Machine::Runs);
    }
    if instances.instance(node).await?.is_none() {
        return Ok(Machine::Gone);
    }
    Ok(if instances.is_shut_down(node).await? { Machine::ShutDown } else { Machine::Runs })
}

async fn look_after(context: &Context, node: &Arc<Node>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let api: Api<Node> = Api::all(context.client.clone());
    match plan(node, machine(context, node).await?) {
        Step::Leave => {}
        Step::Taint(patch) => {
            api.patch(name(node), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Step::Delete => {
            let message = format!("Deleting node {} because it does not exist in the cloud provider", name(node));
            tracing::info!(node = %name(node), "deleting a node whose machine is gone");
            let recorder = context.recorder.with_component("cloud-node-lifecycle-controller");
            recorder.event(events::reference(&**node), EventType::Normal, "DeletingNode", message);
            let preconditions = Some(Preconditions { uid: node.metadata.uid.clone(), resource_version: None });
            match api.delete(name(node), &DeleteParams { preconditions, ..DeleteParams::default() }).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let tainted = |keys: &[&str]| -> Node {
            let taints: Vec<_> = keys.iter().map(|k| json!({"key": k, "effect": "NoSchedule"})).collect();
            serde_json::from_value(json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": taints}})).unwrap()
        };
        assert_eq!(plan(&tainted(&[]), Machine::Gone), Step::Delete);
        assert_eq!(plan(&tainted(&[]), Machine::Runs), Step::Leave);
        assert_eq!(plan(&tainted(&[taints::SHUTDOWN]), Machine::ShutDown), Step::Leave);
        let Step::Taint(patch) = plan(&tainted(&["mine"]), Machine::ShutDown) else { panic!("no taint") };
        assert_eq!(patch["spec"]["taints"].as_array().map(Vec::len), Some(2));
        let Step::Taint(patch) = plan(&tainted(&[taints::SHUTDOWN]), Machine::Runs) else { panic!("no change") };
        assert_eq!(patch, json!({"metadata": {"resourceVersion": "7"}, "spec": {"taints": null}}));
    }
}
