//! The container runtime as the kubelet sees it: the part of CRI `runtime.v1` that it uses, as a dyn-safe trait.
//!
//! The messages are the CRI's own (`k8s_cri::v1`), so that a fake speaks the same language as containerd. Errors carry the
//! gRPC code, because "not found" is an answer here, not a failure.

pub mod cri;
pub mod view;

use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_cri::v1 as api;
use std::time::Duration;
use tonic::Code;

pub use cri::CriRuntime;
pub use k8s_cri;

/// A failed call to the runtime.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct RuntimeError {
    /// The gRPC code.
    pub code: Code,
    /// The runtime's own words.
    pub message: String,
}

impl RuntimeError {
    /// An error with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The sandbox, container or image does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// The runtime does not offer this call.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }

    /// The call ran out of its time.
    pub fn is_timeout(&self) -> bool {
        matches!(self.code, Code::DeadlineExceeded)
    }
}

/// What a call to the runtime gives.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// The runtime's and image services of the CRI, as far as the kubelet uses them.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version of the runtime.
    async fn version(&self) -> Result<api::VersionResponse>;
    /// Conditions (RuntimeReady, NetworkReady), handlers and features.
    async fn status(&self) -> Result<api::StatusResponse>;
    /// The cgroup driver that the runtime uses, where it says so.
    async fn cgroup_driver(&self) -> Result<Option<api::CgroupDriver>>;
    /// Tells the runtime the node's pod CIDR.
    async fn update_pod_cidr(&self, cidr: &str) -> Result<()>;

    /// Creates and starts a sandbox; returns its id.
    async fn run_pod_sandbox(&self, config: api::PodSandboxConfig, handler: &str) -> Result<String>;
    /// Stops everything in the sandbox and frees its network. Idempotent.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes the sandbox with its containers. Idempotent.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// One sandbox, with its addresses.
    async fn pod_sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus>;
    /// The sandboxes that match (all when no filter is given).
    async fn list_pod_sandboxes(&self, filter: Option<api::PodSandboxFilter>) -> Result<Vec<api::PodSandbox>>;

    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox: &str,
        config: api::ContainerConfig,
        sandbox_config: api::PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stops a container: its stop signal, then SIGKILL after the grace period. Idempotent.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, killing it when it runs. Idempotent.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// The containers that match (all when no filter is given).
    async fn list_containers(&self, filter: Option<api::ContainerFilter>) -> Result<Vec<api::Container>>;
    /// One container in detail.
    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus>;
    /// Changes the resources of a running container.
    async fn update_container_resources(&self, id: &str, _resources: api::LinuxContainerResources) -> Result<()> {
        Err(RuntimeError::new(Code::Unimplemented, format!("this runtime does not resize container {id:?}")))
    }
    /// Tells the runtime that the log file was renamed.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;

    /// Runs a command in a container and waits for its end. No timeout when it is zero.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<api::ExecSyncResponse>;
    /// Prepares a streaming exec; returns the URL to connect to.
    async fn exec(&self, request: api::ExecRequest) -> Result<String>;
    /// Prepares a streaming attach; returns the URL to connect to.
    async fn attach(&self, request: api::AttachRequest) -> Result<String>;
    /// Prepares a port forward; returns the URL to connect to.
    async fn port_forward(&self, request: api::PortForwardRequest) -> Result<String>;

    /// Resource usage of the running containers that match.
    async fn list_container_stats(&self, filter: Option<api::ContainerStatsFilter>)
    -> Result<Vec<api::ContainerStats>>;
    /// The stream of container life-cycle events; `Unimplemented` where the runtime has none.
    async fn container_events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>>;

    /// The images present.
    async fn list_images(&self) -> Result<Vec<api::Image>>;
    /// One image by name, tag, digest or id; none when it is not present.
    async fn image_status(&self, image: &str) -> Result<Option<api::Image>>;
    /// Pulls an image; returns its reference.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<api::AuthConfig>,
        sandbox: Option<api::PodSandboxConfig>,
    ) -> Result<String>;
    /// Removes an image. Idempotent.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// The image of sandboxes, where the runtime says: no pod names it, and none would start without it.
    async fn sandbox_image(&self) -> Result<Option<String>> {
        Ok(None)
    }
    /// The file systems that hold images.
    async fn image_fs_info(&self) -> Result<api::ImageFsInfoResponse>;
}
