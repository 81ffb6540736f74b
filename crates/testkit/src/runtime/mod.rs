//! A container runtime that runs nothing: the fake at the CRI seam.
//!
//! It keeps sandboxes and containers as containerd would report them, gives addresses from the node's pod CIDR (its network is
//! not ready before it is told one, as with containerd's template of a CNI configuration), and tells of changes by events. A container runs until it is stopped, unless [`FakeRuntime::script`] says what its image does.
//! Time is tokio's.

mod state;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use k8s_cri::v1 as api;
use kubelet::runtime::{Result, Runtime, RuntimeError};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::Code;

use state::{State, now};

/// What a container of some image does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// It ends by itself after this time; `None`: it runs until it is stopped.
    pub runs_for: Option<Duration>,
    pub exit_code: i32,
    /// How long it takes to end once it is told to stop.
    pub stops_within: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self { runs_for: None, exit_code: 0, stops_within: Duration::ZERO }
    }
}

/// The runtime of one hollow node. Cheap to clone: all clones are the same runtime.
#[derive(Clone)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    tasks: TaskTracker,
}

// === impl FakeRuntime ===

impl FakeRuntime {
    /// A runtime whose ids start with `node`.
    pub fn new(node: &str) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::new(node)), tasks: TaskTracker::new() }) }
    }

    /// From now on containers of images that start with `image` do this.
    pub fn script(&self, image: &str, script: Script) {
        self.shared.state.lock().scripts.insert(image.to_owned(), script);
    }

    /// While down, every call fails.
    pub fn set_down(&self, down: bool) {
        self.shared.state.lock().down = down;
    }

    /// Ends a running container as if its process had died.
    pub fn crash(&self, container_id: &str, exit_code: i32) {
        self.shared.state.lock().exit(container_id, exit_code);
    }

    /// The running containers: (pod namespace, pod name, container name, container id).
    pub fn running(&self) -> Vec<(String, String, String, String)> {
        self.shared.state.lock().running()
    }

    fn state(&self) -> Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.shared.state.lock();
        match state.down {
            false => Ok(state),
            true => Err(RuntimeError::new(Code::Unavailable, "the runtime is down")),
        }
    }

    fn exit_later(&self, id: &str, after: Duration, exit_code: i32) {
        let (shared, id) = (Arc::downgrade(&self.shared), id.to_owned());
        self.shared.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(shared) = shared.upgrade() {
                shared.state.lock().exit(&id, exit_code);
            }
        });
    }
}

fn unimplemented<T>() -> Result<T> {
    Err(RuntimeError::new(Code::Unimplemented, "a fake runtime has no streams"))
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<api::VersionResponse> {
        drop(self.state()?);
        Ok(api::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1.0.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> Result<api::StatusResponse> {
        let has_network = !self.state()?.pod_cidr.is_empty();
        let condition =
            |name: &str, status| api::RuntimeCondition { r#type: name.into(), status, ..Default::default() };
        let network = match has_network {
            true => condition("NetworkReady", true),
            false => api::RuntimeCondition {
                reason: "NetworkPluginNotReady".into(),
                message: "Network plugin returns error: cni plugin not initialized".into(),
                ..condition("NetworkReady", false)
            },
        };
        let status = api::RuntimeStatus { conditions: vec![condition("RuntimeReady", true), network] };
        Ok(api::StatusResponse { status: Some(status), ..Default::default() })
    }

    async fn cgroup_driver(&self) -> Result<Option<api::CgroupDriver>> {
        Ok(Some(api::CgroupDriver::Cgroupfs))
    }

    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        self.state()?.pod_cidr = cidr.to_owned();
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: api::PodSandboxConfig, handler: &str) -> Result<String> {
        self.state()?.run_sandbox(config, handler)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.state()?.stop_sandbox(id);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.state()?.remove_sandbox(id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus> {
        self.state()?.sandbox_status(id)
    }

    async fn list_pod_sandboxes(&self, filter: Option<api::PodSandboxFilter>) -> Result<Vec<api::PodSandbox>> {
        Ok(self.state()?.sandboxes(&filter.unwrap_or_default()))
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: api::ContainerConfig,
        _sandbox_config: api::PodSandboxConfig,
    ) -> Result<String> {
        self.state()?.create_container(sandbox, config)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let script = self.state()?.start_container(id)?;
        if let Some(after) = script.runs_for {
            self.exit_later(id, after, script.exit_code);
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let Some(script) = self.state()?.script_of_running(id) else { return Ok(()) };
        let killed = script.stops_within > grace;
        tokio::time::sleep(script.stops_within.min(grace)).await;
        self.state()?.exit(id, if killed { 137 } else { script.exit_code });
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state()?.remove_container(id);
        Ok(())
    }

    async fn list_containers(&self, filter: Option<api::ContainerFilter>) -> Result<Vec<api::Container>> {
        Ok(self.state()?.containers(&filter.unwrap_or_default()))
    }

    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus> {
        self.state()?.container_status(id)
    }

    async fn reopen_container_log(&self, _id: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, id: &str, _command: Vec<String>, _timeout: Duration) -> Result<api::ExecSyncResponse> {
        self.state()?.container_status(id)?;
        Ok(api::ExecSyncResponse::default())
    }

    async fn exec(&self, _request: api::ExecRequest) -> Result<String> {
        unimplemented()
    }

    async fn attach(&self, _request: api::AttachRequest) -> Result<String> {
        unimplemented()
    }

    async fn port_forward(&self, _request: api::PortForwardRequest) -> Result<String> {
        unimplemented()
    }

    async fn list_container_stats(
        &self,
        _filter: Option<api::ContainerStatsFilter>,
    ) -> Result<Vec<api::ContainerStats>> {
        drop(self.state()?);
        Ok(Vec::new())
    }

    async fn container_events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state()?.listeners.push(sender);
        let stream = futures::stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            Some((Ok(event), receiver))
        });
        Ok(stream.boxed())
    }

    async fn list_images(&self) -> Result<Vec<api::Image>> {
        let state = self.state()?;
        Ok(state.images.iter().map(|image| describe(image)).collect())
    }

    async fn image_status(&self, image: &str) -> Result<Option<api::Image>> {
        let present = self.state()?.images.iter().any(|known| known == image || reference(known) == image);
        Ok(present.then(|| describe(image.trim_start_matches("sha256:"))))
    }

    async fn pull_image(
        &self,
        image: &str,
        _auth: Option<api::AuthConfig>,
        _sandbox: Option<api::PodSandboxConfig>,
    ) -> Result<String> {
        self.state()?.images.insert(image.to_owned());
        Ok(reference(image))
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.state()?.images.retain(|known| known != image && reference(known) != image);
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<api::ImageFsInfoResponse> {
        drop(self.state()?);
        let usage = api::FilesystemUsage {
            timestamp: now(),
            fs_id: Some(api::FilesystemIdentifier { mountpoint: "/var/lib/fake".into() }),
            used_bytes: Some(api::UInt64Value { value: 1 << 30 }),
            inodes_used: Some(api::UInt64Value { value: 1 << 10 }),
        };
        Ok(api::ImageFsInfoResponse { image_filesystems: vec![usage.clone()], container_filesystems: vec![usage] })
    }
}

/// The id of an image.
fn reference(image: &str) -> String {
    format!("sha256:{image}")
}

fn describe(image: &str) -> api::Image {
    api::Image { id: reference(image), repo_tags: vec![image.to_owned()], size: 1 << 20, ..Default::default() }
}
