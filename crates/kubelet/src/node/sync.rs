//! Keeps the node object true: registers it, then sends its status when it changed, and from time to time when it did not.

use super::pressure::{Room, assess};
use super::status::{Findings, compute, same};
use super::{addresses, lease, register};
use crate::agent::Agent;
use crate::host::FsUsage;
use crate::status::manager::diff;
use api_types::k8s_openapi::api::core::v1::{Node, NodeStatus};
use component_base::clock;
use controller_runtime::EventType::Normal;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tries of one update, as upstream.
const TRIES: usize = 5;
const RETRY: Duration = Duration::from_millis(200);

/// Runs until shutdown; acts at once when the node's health or its pod network changes.
pub(crate) async fn run(agent: Arc<Agent>, client: kube::Client) {
    set_addresses(&agent);
    agent.events.node(Normal, "Starting", "Starting kubelet.");
    let first = compute(&agent, &Node::default(), &findings(&agent).await);
    let node = register::until_registered(&agent, &client, first).await;
    agent.node.set_object(Arc::new(node));
    agent.tasks.spawn(until_shutdown(&agent, lease::run(agent.clone(), client.clone())));
    let mut last_sent: Option<Instant> = None;
    let mut cidr = String::new();
    loop {
        pod_cidr(&agent, &mut cidr).await;
        let due = last_sent.is_none_or(|at| at.elapsed() >= agent.config.node.status_report);
        match update(&agent, &client, due).await {
            Ok(true) => last_sent = Some(Instant::now()),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "could not update the node's status"),
        }
        tokio::select! {
            biased;
            () = agent.node.changed() => {}
            () = tokio::time::sleep(agent.config.node.status_update) => {}
        }
    }
}

/// The future, cut off at shutdown.
fn until_shutdown(
    agent: &Agent,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = agent.shutdown.clone();
    async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }
}

/// Finds the node's address where none was given.
pub(crate) fn set_addresses(agent: &Agent) {
    if agent.node.host_ips().is_empty() {
        match addresses::discover() {
            Some(ip) => agent.node.set_host_ips(vec![ip.to_string()]),
            None => tracing::error!("no address of this node was found: give one with --node-ip"),
        }
    }
}

/// Tells the runtime the node's pod network once it is known.
async fn pod_cidr(agent: &Agent, told: &mut String) {
    let cidr = agent.node.pod_cidrs().join(",");
    if cidr.is_empty() || cidr == *told {
        return;
    }
    match agent.runtime.update_pod_cidr(&cidr).await {
        Ok(()) => {
            tracing::info!(%cidr, "told the runtime the pod network");
            *told = cidr;
        }
        Err(error) => tracing::warn!(%cidr, %error, "could not tell the runtime the pod network"),
    }
}

async fn findings(agent: &Agent) -> Findings {
    let mut not_ready: Vec<String> =
        [agent.node.runtime_error(), agent.node.network_error()].into_iter().flatten().collect();
    let mut broken = |what: &str, error: String| not_ready.push(format!("{what}: {error}"));
    let root = agent.host.fs_usage(&agent.config.paths.root).await;
    let disk = root.unwrap_or_else(|error| {
        broken("root file system", error.to_string());
        FsUsage::default()
    });
    let images = agent.runtime.list_images().await.unwrap_or_else(|error| {
        broken("images", error.to_string());
        Vec::new()
    });
    let runtime = agent.runtime.status().await.unwrap_or_else(|error| {
        broken("container runtime", error.to_string());
        Default::default()
    });
    let room = room(agent, disk).await;
    let pressure = assess(&room.unwrap_or_default(), &agent.config.node.pressure);
    Findings { disk, pressure, images, runtime, not_ready, now: clock::now() }
}

/// What is left on the node; an error leaves the pressure unknown, and is logged.
async fn room(agent: &Agent, node_fs: FsUsage) -> Option<Room> {
    let found: anyhow::Result<Room> = async {
        let usage = agent.host.cgroup_usage("/").await?.unwrap_or_default();
        let image = agent.runtime.image_fs_info().await?;
        let mount = image.image_filesystems.first().and_then(|fs| fs.fs_id.as_ref()).map(|fs| fs.mountpoint.clone());
        let image_fs = match mount {
            Some(mount) => agent.host.fs_usage(Path::new(&mount)).await?,
            None => FsUsage::default(),
        };
        let (pids_used, pids) = agent.host.pids().await?;
        let memory = agent.machine.memory;
        let memory_available = memory.saturating_sub(usage.memory_working_set);
        Ok(Room { memory, memory_available, node_fs, image_fs, pids, pids_used })
    }
    .await;
    found.inspect_err(|error| tracing::warn!(%error, "could not look at the node's resources")).ok()
}

/// Sends the status when it changed or is due; whether it was sent.
async fn update(agent: &Agent, client: &kube::Client, due: bool) -> Result<bool, kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let findings = findings(agent).await;
    let mut known = agent.node.object();
    for round in 1..=TRIES {
        let node = match known.take() {
            Some(node) => node,
            None => Arc::new(api.get(&agent.config.node.name).await?),
        };
        let old = node.status.clone().unwrap_or_default();
        let new = compute(agent, &node, &findings);
        if !due && same(&old, &new) {
            return Ok(false);
        }
        announce(agent, &old, &new);
        match send(&api, &node, &old, &new).await {
            Ok(node) => {
                agent.node.set_object(Arc::new(node));
                return Ok(true);
            }
            Err(error) if round == TRIES => return Err(error),
            Err(kube::Error::Api(answer)) if answer.code == 404 => {
                // Somebody deleted the node: it registers again.
                let node = register::until_registered(agent, client, new).await;
                agent.node.set_object(Arc::new(node));
                return Ok(true);
            }
            Err(error) => {
                tracing::debug!(%error, "node status not written, trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    Ok(false)
}

async fn send(api: &Api<Node>, node: &Node, old: &NodeStatus, new: &NodeStatus) -> Result<Node, kube::Error> {
    let json = |status: &NodeStatus| serde_json::to_value(status).map_err(kube::Error::SerdeError);
    let difference = diff(&json(old)?, &json(new)?).unwrap_or_else(|| json!({}));
    let metadata = json!({"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version});
    let patch = json!({"metadata": metadata, "status": difference});
    let name = node.metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await
}

/// Events about conditions that changed.
fn announce(agent: &Agent, old: &NodeStatus, new: &NodeStatus) {
    for condition in new.conditions.iter().flatten() {
        let before = old.conditions.iter().flatten().find(|other| other.type_ == condition.type_);
        if before.is_some_and(|before| before.status == condition.status) {
            continue;
        }
        let holds = condition.status == "True";
        let reason = match (condition.type_.as_str(), holds) {
            ("Ready", true) => "NodeReady",
            ("Ready", false) => "NodeNotReady",
            ("MemoryPressure", true) => "NodeHasInsufficientMemory",
            ("MemoryPressure", false) => "NodeHasSufficientMemory",
            ("DiskPressure", true) => "NodeHasDiskPressure",
            ("DiskPressure", false) => "NodeHasNoDiskPressure",
            ("PIDPressure", true) => "NodeHasInsufficientPID",
            ("PIDPressure", false) => "NodeHasSufficientPID",
            _ => continue,
        };
        agent.events.node(Normal, reason, &format!("Node {} status is now: {reason}", agent.config.node.name));
    }
}
