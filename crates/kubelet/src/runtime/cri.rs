//! [`Runtime`] over a CRI socket (containerd 1.6 to 2.x, cri-o).
//!
//! The connection is lazy and reconnects by itself: a runtime that restarts shows as failed calls in between, which every
//! caller has to survive anyway.

use super::{Result, Runtime, RuntimeError};
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use hyper_util::rt::TokioIo;
use k8s_cri::v1 as api;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status};

/// Answers of a node with many containers exceed gRPC's default of 4 MiB; upstream's limit.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What upstream gives a pull before its progress counts as stalled; containerd reports no progress over CRI.
const PULL_TIMEOUT: Duration = Duration::from_secs(1800);

/// A client of a CRI endpoint.
#[derive(Clone)]
pub struct CriRuntime {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeout: Duration,
}

impl CriRuntime {
    /// A client of `runtime` (and `images`, the same socket usually); connects at the first call.
    pub fn new(runtime: &str, images: &str, timeout: Duration) -> std::result::Result<Self, String> {
        let runtime = channel(socket_path(runtime)?);
        let images = channel(socket_path(images)?);
        Ok(Self {
            runtime: RuntimeServiceClient::new(runtime).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(images).max_decoding_message_size(MAX_MESSAGE),
            timeout,
        })
    }
}

/// The path in `unix:///path` (or a bare path, as upstream still accepts).
fn socket_path(endpoint: &str) -> std::result::Result<PathBuf, String> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(format!("container runtime endpoint {endpoint:?}: only unix sockets (unix:///path) are supported"))
    }
}

fn channel(path: PathBuf) -> Channel {
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    }))
}

impl From<Status> for RuntimeError {
    fn from(status: Status) -> Self {
        Self::new(status.code(), status.message())
    }
}

/// Runs a call under a deadline; the runtime's answer without its metadata.
async fn call<T>(limit: Duration, future: impl Future<Output = std::result::Result<Response<T>, Status>>) -> Result<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(RuntimeError::new(Code::DeadlineExceeded, "context deadline exceeded")),
    }
}

/// "Not found" counts as done, for the calls that the CRI declares idempotent (not every runtime keeps to it).
fn idempotent<T: Default>(answer: Result<T>) -> Result<()> {
    match answer {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn missing(what: &str, id: &str) -> RuntimeError {
    RuntimeError::new(Code::Internal, format!("the runtime answered without a {what} for {id:?}"))
}

fn image_spec(image: &str) -> Option<api::ImageSpec> {
    Some(api::ImageSpec { image: image.into(), user_specified_image: image.into(), ..Default::default() })
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn version(&self) -> Result<api::VersionResponse> {
        let request = api::VersionRequest { version: "0.1.0".into() };
        call(self.timeout, self.runtime.clone().version(request)).await
    }

    async fn status(&self) -> Result<api::StatusResponse> {
        call(self.timeout, self.runtime.clone().status(api::StatusRequest { verbose: false })).await
    }

    async fn cgroup_driver(&self) -> Result<Option<api::CgroupDriver>> {
        match call(self.timeout, self.runtime.clone().runtime_config(api::RuntimeConfigRequest {})).await {
            Ok(answer) => Ok(answer.linux.map(|linux| linux.cgroup_driver())),
            Err(error) if error.is_unimplemented() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(api::NetworkConfig { pod_cidr: cidr.into() });
        let request = api::UpdateRuntimeConfigRequest { runtime_config: Some(api::RuntimeConfig { network_config }) };
        call(self.timeout, self.runtime.clone().update_runtime_config(request)).await.map(drop)
    }

    async fn run_pod_sandbox(&self, config: api::PodSandboxConfig, handler: &str) -> Result<String> {
        let request = api::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        // CNI plugins may be slow: upstream doubles the limit here.
        Ok(call(self.timeout * 2, self.runtime.clone().run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = api::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        idempotent(call(self.timeout, self.runtime.clone().stop_pod_sandbox(request)).await)
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = api::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        idempotent(call(self.timeout, self.runtime.clone().remove_pod_sandbox(request)).await)
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<api::PodSandboxStatus> {
        let request = api::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let answer = call(self.timeout, self.runtime.clone().pod_sandbox_status(request)).await?;
        answer.status.ok_or_else(|| missing("sandbox status", id))
    }

    async fn list_pod_sandboxes(&self, filter: Option<api::PodSandboxFilter>) -> Result<Vec<api::PodSandbox>> {
        let request = api::ListPodSandboxRequest { filter };
        Ok(call(self.timeout, self.runtime.clone().list_pod_sandbox(request)).await?.items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: api::ContainerConfig,
        sandbox_config: api::PodSandboxConfig,
    ) -> Result<String> {
        let request = api::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(call(self.timeout, self.runtime.clone().create_container(request)).await?.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = api::StartContainerRequest { container_id: id.into() };
        call(self.timeout, self.runtime.clone().start_container(request)).await.map(drop)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = api::StopContainerRequest { container_id: id.into(), timeout };
        idempotent(call(self.timeout + grace, self.runtime.clone().stop_container(request)).await)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = api::RemoveContainerRequest { container_id: id.into() };
        idempotent(call(self.timeout, self.runtime.clone().remove_container(request)).await)
    }

    async fn list_containers(&self, filter: Option<api::ContainerFilter>) -> Result<Vec<api::Container>> {
        let request = api::ListContainersRequest { filter };
        Ok(call(self.timeout, self.runtime.clone().list_containers(request)).await?.containers)
    }

    async fn container_status(&self, id: &str) -> Result<api::ContainerStatus> {
        let request = api::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = call(self.timeout, self.runtime.clone().container_status(request)).await?;
        answer.status.ok_or_else(|| missing("container status", id))
    }

    async fn update_container_resources(&self, id: &str, resources: api::LinuxContainerResources) -> Result<()> {
        let request = api::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(resources),
            ..Default::default()
        };
        call(self.timeout, self.runtime.clone().update_container_resources(request)).await.map(drop)
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let request = api::ReopenContainerLogRequest { container_id: id.into() };
        call(self.timeout, self.runtime.clone().reopen_container_log(request)).await.map(drop)
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<api::ExecSyncResponse> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let request = api::ExecSyncRequest { container_id: id.into(), cmd: command, timeout: seconds };
        if timeout.is_zero() {
            return Ok(self.runtime.clone().exec_sync(request).await?.into_inner());
        }
        call(self.timeout + timeout, self.runtime.clone().exec_sync(request)).await
    }

    async fn exec(&self, request: api::ExecRequest) -> Result<String> {
        Ok(call(self.timeout, self.runtime.clone().exec(request)).await?.url)
    }

    async fn attach(&self, request: api::AttachRequest) -> Result<String> {
        Ok(call(self.timeout, self.runtime.clone().attach(request)).await?.url)
    }

    async fn port_forward(&self, request: api::PortForwardRequest) -> Result<String> {
        Ok(call(self.timeout, self.runtime.clone().port_forward(request)).await?.url)
    }

    async fn list_container_stats(
        &self,
        filter: Option<api::ContainerStatsFilter>,
    ) -> Result<Vec<api::ContainerStats>> {
        let request = api::ListContainerStatsRequest { filter };
        Ok(call(self.timeout, self.runtime.clone().list_container_stats(request)).await?.stats)
    }

    async fn container_events(&self) -> Result<BoxStream<'static, Result<api::ContainerEventResponse>>> {
        let request = Request::new(api::GetEventsRequest {});
        let stream = self.runtime.clone().get_container_events(request).await?.into_inner();
        Ok(stream.map(|event| event.map_err(RuntimeError::from)).boxed())
    }

    async fn list_images(&self) -> Result<Vec<api::Image>> {
        let request = api::ListImagesRequest { filter: None };
        Ok(call(self.timeout, self.images.clone().list_images(request)).await?.images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<api::Image>> {
        let request = api::ImageStatusRequest { image: image_spec(image), verbose: false };
        let answer = call(self.timeout, self.images.clone().image_status(request)).await?;
        Ok(answer.image.filter(|image| !image.id.is_empty()))
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<api::AuthConfig>,
        sandbox: Option<api::PodSandboxConfig>,
    ) -> Result<String> {
        let request = api::PullImageRequest { image: image_spec(image), auth, sandbox_config: sandbox };
        Ok(call(PULL_TIMEOUT, self.images.clone().pull_image(request)).await?.image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let request = api::RemoveImageRequest { image: image_spec(image) };
        idempotent(call(self.timeout, self.images.clone().remove_image(request)).await)
    }

    async fn sandbox_image(&self) -> Result<Option<String>> {
        let answer = call(self.timeout, self.runtime.clone().status(api::StatusRequest { verbose: true })).await?;
        // containerd tells its configuration as JSON in the free-form part of the status.
        let config = answer.info.get("config").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        Ok(config.and_then(|config| config["sandboxImage"].as_str().map(str::to_owned)).filter(|name| !name.is_empty()))
    }

    async fn image_fs_info(&self) -> Result<api::ImageFsInfoResponse> {
        call(self.timeout, self.images.clone().image_fs_info(api::ImageFsInfoRequest {})).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        assert_eq!(socket_path("unix:///run/c.sock"), Ok(PathBuf::from("/run/c.sock")));
        assert_eq!(socket_path("/run/c.sock"), Ok(PathBuf::from("/run/c.sock")));
        assert!(socket_path("tcp://127.0.0.1:1").is_err());
    }
}
