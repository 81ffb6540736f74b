//! What the runtime has of one pod: its sandboxes and containers, read fresh for each decision.

use super::{Result, Runtime};
use crate::spec::labels;
use api_types::k8s_openapi::jiff::Timestamp;
use k8s_cri::v1 as api;
use std::collections::HashMap;

/// A container's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerView {
    /// The runtime's id.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Starts before this one.
    pub restarts: u32,
    /// The sandbox it runs in.
    pub sandbox: String,
    /// State.
    pub state: State,
    /// When it was created.
    pub created: Timestamp,
    /// When it was started; none before.
    pub started: Option<Timestamp>,
    /// When it ended; none before.
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub exit_code: i32,
    /// Why it ended ("OOMKilled", "Error", "Completed").
    pub reason: String,
    /// Last words.
    pub message: String,
    /// Image as the pod names it.
    pub image: String,
    /// Image as the runtime resolved it.
    pub image_ref: String,
    /// [`crate::spec::container::hash`] of what it was created from.
    pub hash: String,
    /// Annotations.
    pub annotations: HashMap<String, String>,
    /// Where its termination message is on the host.
    pub message_file: Option<String>,
    /// Whom it runs as, where the runtime says so.
    pub user: Option<api::LinuxContainerUser>,
    /// Path of its log.
    pub log: String,
}

/// One sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxView {
    /// The runtime's id.
    pub id: String,
    /// Creations before this one.
    pub attempt: u32,
    /// Whether it is ready.
    pub ready: bool,
    /// When it was created.
    pub created: i64,
    /// Addresses, empty on the node's network.
    pub ips: Vec<String>,
    /// Whether it is on the node's network.
    pub host_network: bool,
}

/// One pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodView {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<SandboxView>,
    /// Containers, newest first.
    pub containers: Vec<ContainerView>,
}

impl PodView {
    /// The newest sandbox, when it is ready.
    pub fn active_sandbox(&self) -> Option<&SandboxView> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of that name.
    pub fn newest(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name in the active sandbox.
    pub fn newest_active(&self, name: &str) -> Option<&ContainerView> {
        let sandbox = self.active_sandbox()?;
        self.containers.iter().find(|container| container.name == name && container.sandbox == sandbox.id)
    }

    /// Containers that run (or may run).
    pub fn running(&self) -> impl Iterator<Item = &ContainerView> {
        self.containers.iter().filter(|container| matches!(container.state, State::Running | State::Unknown))
    }

    /// Whether nothing of the pod runs.
    pub fn is_stopped(&self) -> bool {
        self.running().next().is_none() && self.sandboxes.iter().all(|sandbox| !sandbox.ready)
    }

    /// The addresses of the newest sandbox, ready or not: a pod that ended keeps its address in its status.
    pub fn ips(&self) -> Vec<String> {
        self.sandboxes.first().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }
}

fn uid_selector(uid: &str) -> HashMap<String, String> {
    HashMap::from([(labels::POD_UID.to_owned(), uid.to_owned())])
}

/// Reads one pod from the runtime.
pub async fn read(runtime: &dyn Runtime, uid: &str) -> Result<PodView> {
    let filter = api::PodSandboxFilter { label_selector: uid_selector(uid), ..Default::default() };
    let mut sandboxes = Vec::new();
    for sandbox in runtime.list_pod_sandboxes(Some(filter)).await? {
        match runtime.pod_sandbox_status(&sandbox.id).await {
            Ok(status) => sandboxes.push(sandbox_view(status)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.created, sandbox.attempt)));
    let filter = api::ContainerFilter { label_selector: uid_selector(uid), ..Default::default() };
    let mut containers = Vec::new();
    for container in runtime.list_containers(Some(filter)).await? {
        match runtime.container_status(&container.id).await {
            Ok(status) => containers.push(container_view(status, container.pod_sandbox_id)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    containers.sort_by_key(|container| std::cmp::Reverse((container.created, container.restarts)));
    Ok(PodView { sandboxes, containers })
}

fn sandbox_view(status: api::PodSandboxStatus) -> SandboxView {
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    let options = status.linux.and_then(|linux| linux.namespaces).and_then(|namespaces| namespaces.options);
    SandboxView {
        id: status.id,
        attempt: status.metadata.map(|metadata| metadata.attempt).unwrap_or(0),
        ready: status.state == i32::from(api::PodSandboxState::SandboxReady),
        created: status.created_at,
        ips: ips.filter(|ip| !ip.is_empty()).collect(),
        host_network: options.is_some_and(|options| options.network() == api::NamespaceMode::Node),
    }
}

/// A time of the CRI: nanoseconds since 1970, zero for none.
fn time(nanos: i64) -> Option<Timestamp> {
    (nanos > 0).then(|| Timestamp::from_nanosecond(i128::from(nanos)).ok()).flatten()
}

fn container_view(status: api::ContainerStatus, sandbox: String) -> ContainerView {
    let metadata = status.metadata.clone().unwrap_or_default();
    let note = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
    let message_path = note(labels::MESSAGE_PATH);
    let message_mount =
        status.mounts.iter().find(|mount| mount.container_path == message_path && !message_path.is_empty());
    ContainerView {
        name: status.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or(metadata.name),
        restarts: note(labels::RESTART_COUNT).parse().unwrap_or(metadata.attempt),
        sandbox,
        state: match status.state() {
            api::ContainerState::ContainerCreated => State::Created,
            api::ContainerState::ContainerRunning => State::Running,
            api::ContainerState::ContainerExited => State::Exited,
            api::ContainerState::ContainerUnknown => State::Unknown,
        },
        created: time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        started: time(status.started_at),
        finished: time(status.finished_at),
        exit_code: status.exit_code,
        image: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        hash: note(labels::HASH),
        message_file: message_mount.map(|mount| mount.host_path.clone()),
        user: status.user.and_then(|user| user.linux),
        id: status.id,
        reason: status.reason,
        message: status.message,
        image_ref: status.image_ref,
        annotations: status.annotations,
        log: status.log_path,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A running container of that name, for the tests of decisions.
    pub(crate) fn run(name: &str) -> ContainerView {
        ContainerView {
            id: format!("{name}-id"),
            name: name.into(),
            restarts: 0,
            sandbox: "s".into(),
            state: State::Running,
            created: Timestamp::UNIX_EPOCH,
            started: Some(Timestamp::UNIX_EPOCH),
            finished: None,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_ref: String::new(),
            hash: String::new(),
            annotations: HashMap::new(),
            message_file: None,
            user: None,
            log: String::new(),
        }
    }
}
