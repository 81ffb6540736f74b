//! Sandboxes and containers of a fake runtime.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use k8s_cri::v1 as api;
use kubelet::runtime::{Result, RuntimeError};
use tokio::sync::mpsc;
use tonic::Code;

use super::Script;

#[derive(Default)]
pub(super) struct State {
    node: String,
    pub(super) down: bool,
    pub(super) pod_cidr: String,
    pub(super) scripts: BTreeMap<String, Script>,
    pub(super) images: BTreeSet<String>,
    pub(super) listeners: Vec<mpsc::UnboundedSender<api::ContainerEventResponse>>,
    /// Numbers of ids and addresses.
    next: u32,
    sandboxes: BTreeMap<String, api::PodSandboxStatus>,
    containers: BTreeMap<String, Container>,
}

struct Container {
    sandbox: String,
    status: api::ContainerStatus,
}

/// Nanoseconds of Unix time.
pub(super) fn now() -> i64 {
    i64::try_from(component_base::clock::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn not_found<T>(what: &str, id: &str) -> Result<T> {
    Err(RuntimeError::new(Code::NotFound, format!("{what} {id} not found")))
}

fn selected(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

// === impl State ===

impl State {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// The n-th address of the node's pod network.
    fn address(&self, number: u32) -> String {
        let (network, bits) = self.pod_cidr.split_once('/').unwrap_or(("10.255.0.0", "16"));
        let network: Ipv4Addr = network.parse().unwrap_or(Ipv4Addr::new(10, 255, 0, 0));
        let hosts = 1u32 << (32 - bits.parse::<u32>().unwrap_or(16).clamp(1, 30));
        Ipv4Addr::from(u32::from(network) + 2 + number % (hosts - 3)).to_string()
    }

    pub(super) fn run_sandbox(&mut self, config: api::PodSandboxConfig, handler: &str) -> Result<String> {
        let number = self.number();
        let id = format!("{}-sandbox-{number}", self.node);
        let options = config.linux.and_then(|linux| linux.security_context).and_then(|it| it.namespace_options);
        let on_host = options.as_ref().is_some_and(|options| options.network() == api::NamespaceMode::Node);
        let ip = if on_host { String::new() } else { self.address(number) };
        let status = api::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: api::PodSandboxState::SandboxReady.into(),
            created_at: now(),
            network: Some(api::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            linux: Some(api::LinuxPodSandboxStatus { namespaces: Some(api::Namespace { options }) }),
            labels: config.labels,
            annotations: config.annotations,
            runtime_handler: handler.to_owned(),
        };
        self.sandboxes.insert(id.clone(), status);
        self.tell(&id, &id, api::ContainerEventType::ContainerStartedEvent);
        Ok(id)
    }

    pub(super) fn stop_sandbox(&mut self, id: &str) {
        for container in self.containers_of(id) {
            self.exit(&container, 137);
        }
        let not_ready = i32::from(api::PodSandboxState::SandboxNotready);
        let was_ready = self.sandboxes.get_mut(id).map(|sandbox| std::mem::replace(&mut sandbox.state, not_ready));
        if was_ready.is_some_and(|state| state != not_ready) {
            self.tell(id, id, api::ContainerEventType::ContainerStoppedEvent);
        }
    }

    pub(super) fn remove_sandbox(&mut self, id: &str) {
        self.stop_sandbox(id);
        for container in self.containers_of(id) {
            self.remove_container(&container);
        }
        if self.sandboxes.contains_key(id) {
            self.tell(id, id, api::ContainerEventType::ContainerDeletedEvent);
            self.sandboxes.remove(id);
        }
    }

    fn containers_of(&self, sandbox: &str) -> Vec<String> {
        let of_sandbox = self.containers.iter().filter(|(_, container)| container.sandbox == sandbox);
        of_sandbox.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus> {
        self.sandboxes.get(id).cloned().map_or_else(|| not_found("sandbox", id), Ok)
    }

    pub(super) fn sandboxes(&self, filter: &api::PodSandboxFilter) -> Vec<api::PodSandbox> {
        let matching = self.sandboxes.values().filter(|sandbox| {
            (filter.id.is_empty() || filter.id == sandbox.id)
                && filter.state.as_ref().is_none_or(|wanted| wanted.state == sandbox.state)
                && selected(&sandbox.labels, &filter.label_selector)
        });
        let item = |sandbox: &api::PodSandboxStatus| api::PodSandbox {
            id: sandbox.id.clone(),
            metadata: sandbox.metadata.clone(),
            state: sandbox.state,
            created_at: sandbox.created_at,
            labels: sandbox.labels.clone(),
            annotations: sandbox.annotations.clone(),
            runtime_handler: sandbox.runtime_handler.clone(),
        };
        matching.map(item).collect()
    }

    pub(super) fn create_container(&mut self, sandbox: &str, config: api::ContainerConfig) -> Result<String> {
        self.sandbox_status(sandbox)?;
        let number = self.number();
        let id = format!("{}-container-{number}", self.node);
        let image = config.image.clone().unwrap_or_default().image;
        let status = api::ContainerStatus {
            id: id.clone(),
            metadata: config.metadata,
            state: api::ContainerState::ContainerCreated.into(),
            created_at: now(),
            image: config.image,
            image_ref: image.clone(),
            image_id: image,
            labels: config.labels,
            annotations: config.annotations,
            mounts: config.mounts,
            log_path: config.log_path,
            ..Default::default()
        };
        self.containers.insert(id.clone(), Container { sandbox: sandbox.to_owned(), status });
        self.tell(&id, sandbox, api::ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    pub(super) fn start_container(&mut self, id: &str) -> Result<Script> {
        let Some(container) = self.containers.get_mut(id) else { return not_found("container", id) };
        container.status.state = api::ContainerState::ContainerRunning.into();
        container.status.started_at = now();
        let sandbox = container.sandbox.clone();
        self.tell(id, &sandbox, api::ContainerEventType::ContainerStartedEvent);
        Ok(self.script_of(id))
    }

    fn script_of(&self, id: &str) -> Script {
        let image = self.containers.get(id).and_then(|it| it.status.image.as_ref()).map(|image| image.image.as_str());
        let image = image.unwrap_or_default().trim_start_matches("sha256:");
        let script = self.scripts.iter().rev().find(|(prefix, _)| image.starts_with(prefix.as_str()));
        script.map(|(_, script)| *script).unwrap_or_default()
    }

    fn is_running(&self, id: &str) -> bool {
        let running = i32::from(api::ContainerState::ContainerRunning);
        self.containers.get(id).is_some_and(|container| container.status.state == running)
    }

    pub(super) fn script_of_running(&self, id: &str) -> Option<Script> {
        self.is_running(id).then(|| self.script_of(id))
    }

    /// Ends a container; one that does not run stays as it is.
    pub(super) fn exit(&mut self, id: &str, exit_code: i32) {
        if !self.is_running(id) {
            return;
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.status.state = api::ContainerState::ContainerExited.into();
        container.status.finished_at = now();
        container.status.exit_code = exit_code;
        container.status.reason = if exit_code == 0 { "Completed" } else { "Error" }.into();
        let sandbox = container.sandbox.clone();
        self.tell(id, &sandbox, api::ContainerEventType::ContainerStoppedEvent);
    }

    pub(super) fn remove_container(&mut self, id: &str) {
        self.exit(id, 137);
        if let Some(container) = self.containers.remove(id) {
            self.tell(id, &container.sandbox, api::ContainerEventType::ContainerDeletedEvent);
        }
    }

    pub(super) fn container_status(&self, id: &str) -> Result<api::ContainerStatus> {
        self.containers.get(id).map_or_else(|| not_found("container", id), |it| Ok(it.status.clone()))
    }

    pub(super) fn containers(&self, filter: &api::ContainerFilter) -> Vec<api::Container> {
        let matching = self.containers.values().filter(|Container { sandbox, status }| {
            (filter.id.is_empty() || filter.id == status.id)
                && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == *sandbox)
                && filter.state.as_ref().is_none_or(|wanted| wanted.state == status.state)
                && selected(&status.labels, &filter.label_selector)
        });
        let item = |Container { sandbox, status }: &Container| api::Container {
            id: status.id.clone(),
            pod_sandbox_id: sandbox.clone(),
            metadata: status.metadata.clone(),
            image: status.image.clone(),
            image_ref: status.image_ref.clone(),
            state: status.state,
            created_at: status.created_at,
            labels: status.labels.clone(),
            annotations: status.annotations.clone(),
            image_id: status.image_id.clone(),
        };
        matching.map(item).collect()
    }

    pub(super) fn running(&self) -> Vec<(String, String, String, String)> {
        let running = self.containers.iter().filter(|(id, _)| self.is_running(id));
        let item = |(id, container): (&String, &Container)| {
            let pod = self.sandboxes.get(&container.sandbox).and_then(|sandbox| sandbox.metadata.clone());
            let pod = pod.unwrap_or_default();
            let name = container.status.metadata.clone().unwrap_or_default().name;
            (pod.namespace, pod.name, name, id.clone())
        };
        running.map(item).collect()
    }

    /// Sends an event to all listeners that still listen.
    fn tell(&mut self, id: &str, sandbox: &str, kind: api::ContainerEventType) {
        let statuses = self.containers_of(sandbox).iter().filter_map(|id| self.container_status(id).ok()).collect();
        let event = api::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: now(),
            pod_sandbox_status: self.sandboxes.get(sandbox).cloned(),
            containers_statuses: statuses,
        };
        self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use kubelet::runtime::Runtime;

    use super::*;
    use crate::runtime::FakeRuntime;

    async fn container(runtime: &FakeRuntime, image: &str) -> (String, String) {
        let sandbox = runtime.run_pod_sandbox(api::PodSandboxConfig::default(), "").await.unwrap();
        let image = Some(api::ImageSpec { image: image.into(), ..Default::default() });
        let config = api::ContainerConfig { image, ..Default::default() };
        let id = runtime.create_container(&sandbox, config, Default::default()).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        (sandbox, id)
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_ends_its_container_and_events_tell() {
        let runtime = FakeRuntime::new("n1");
        let script = Script { runs_for: Some(Duration::from_secs(60)), exit_code: 3, ..Script::default() };
        runtime.script("job", script);
        let mut events = runtime.container_events().await.unwrap();
        let (_, job) = container(&runtime, "job:1").await;
        let (_, server) = container(&runtime, "server:1").await;
        while events.next().await.unwrap().unwrap().container_event_type()
            != api::ContainerEventType::ContainerStoppedEvent
        {}
        let ended = runtime.container_status(&job).await.unwrap();
        assert_eq!((ended.exit_code, ended.finished_at - ended.started_at), (3, 60_000_000_000));
        assert_eq!(runtime.running()[0].3, server);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_takes_what_the_script_says_and_at_most_the_grace() {
        let runtime = FakeRuntime::new("n1");
        runtime.script("slow", Script { stops_within: Duration::from_secs(20), ..Script::default() });
        let (sandbox, slow) = container(&runtime, "slow").await;
        let start = tokio::time::Instant::now();
        runtime.stop_container(&slow, Duration::from_secs(5)).await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert_eq!(runtime.container_status(&slow).await.unwrap().exit_code, 137);
        runtime.remove_pod_sandbox(&sandbox).await.unwrap();
        assert!(runtime.container_status(&slow).await.unwrap_err().is_not_found());
        runtime.set_down(true);
        assert!(runtime.version().await.is_err());
    }

    #[test]
    fn addresses_come_from_the_pod_network() {
        let mut state = State::new("n");
        state.pod_cidr = "10.1.2.0/24".into();
        assert_eq!(state.address(1), "10.1.2.3");
        assert_eq!(state.address(252), "10.1.2.254");
        assert_eq!(state.address(253), "10.1.2.2");
    }
}
