//! Creates the node object, or brings the labels of an existing one up to date.

use crate::agent::Agent;
use api_types::k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, Taint};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(7);

/// The taint of a node that waits for its cloud provider.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
const PROVIDED_IP: &str = "alpha.kubernetes.io/provided-node-ip";
const MANAGED_ATTACH: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// Tries until the node object exists.
pub(super) async fn until_registered(agent: &Agent, client: &kube::Client, status: NodeStatus) -> Node {
    let api: Api<Node> = Api::all(client.clone());
    let mut delay = FIRST_DELAY;
    loop {
        match once(agent, &api, &status).await {
            Ok(node) => return node,
            Err(error) => tracing::warn!(node = %agent.config.node.name, %error, "could not register the node"),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(MAX_DELAY);
    }
}

async fn once(agent: &Agent, api: &Api<Node>, status: &NodeStatus) -> Result<Node, kube::Error> {
    let name = &agent.config.node.name;
    if let Some(found) = api.get_opt(name).await? {
        return update(agent, api, found).await;
    }
    if !agent.config.node.register {
        // Somebody else creates it.
        return api.get(name).await;
    }
    match api.create(&PostParams::default(), &node(agent, status)).await {
        Err(kube::Error::Api(answer)) if answer.code == 409 => update(agent, api, api.get(name).await?).await,
        answer => {
            tracing::info!(node = %name, "registered the node");
            answer
        }
    }
}

fn labels(agent: &Agent) -> BTreeMap<String, String> {
    let arch = &agent.machine.architecture;
    let mut labels = agent.config.node.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", agent.config.node.hostname.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ] {
        labels.insert(key.into(), value.into());
    }
    labels
}

fn annotations(agent: &Agent) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(MANAGED_ATTACH.to_owned(), "true".to_owned())]);
    let config = &agent.config.node;
    if config.external_cloud && !config.ips.is_empty() {
        let ips: Vec<String> = config.ips.iter().map(ToString::to_string).collect();
        annotations.insert(PROVIDED_IP.into(), ips.join(","));
    }
    annotations
}

fn node(agent: &Agent, status: &NodeStatus) -> Node {
    let config = &agent.config.node;
    let taint = |key: &str, value: &str, effect: &str| Taint {
        key: key.into(),
        value: Some(value.to_owned()).filter(|value| !value.is_empty()),
        effect: effect.into(),
        time_added: None,
    };
    let mut taints: Vec<Taint> = config.taints.iter().map(|t| taint(&t.key, &t.value, &t.effect)).collect();
    if config.external_cloud {
        taints.push(taint(UNINITIALIZED, "true", "NoSchedule"));
    }
    if config.unschedulable {
        taints.push(taint("node.kubernetes.io/unschedulable", "", "NoSchedule"));
    }
    Node {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            labels: Some(labels(agent)),
            annotations: Some(annotations(agent)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: Some(taints).filter(|taints| !taints.is_empty()),
            unschedulable: config.unschedulable.then_some(true),
            provider_id: Some(config.provider_id.clone()).filter(|id| !id.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status.clone()),
    }
}

/// Labels and annotations of ours that differ; taints are set at creation only.
async fn update(agent: &Agent, api: &Api<Node>, found: Node) -> Result<Node, kube::Error> {
    let differs =
        |have: Option<&BTreeMap<String, String>>, want: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            let missing = |(key, value): &(&String, &String)| have.and_then(|have| have.get(*key)) != Some(*value);
            want.iter().filter(missing).map(|(key, value)| (key.clone(), value.clone())).collect()
        };
    let labels = differs(found.metadata.labels.as_ref(), &labels(agent));
    let annotations = differs(found.metadata.annotations.as_ref(), &annotations(agent));
    if labels.is_empty() && annotations.is_empty() {
        return Ok(found);
    }
    let patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
    api.patch(&agent.config.node.name, &PatchParams::default(), &Patch::Merge(patch)).await
}
