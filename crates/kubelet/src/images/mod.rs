//! Makes sure that a container's image is there before the container is created.

mod credentials;
pub(crate) mod gc;
mod name;

use crate::config::UpkeepConfig;
use crate::events::Events;
use crate::objects::Objects;
use crate::pod::PodExt;
use crate::pods::backoff::Backoff;
use crate::runtime::{Runtime, RuntimeError};
use crate::status::containers::StartFailure;
use api_types::k8s_openapi::api::core::v1::{Container, Pod};
use component_base::clock;
use controller_runtime::EventType::{Normal, Warning};
use k8s_cri::v1::{AuthConfig, Image, PodSandboxConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use name::with_default_tag;

const BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Pulls images, one at a time or several, with growing delays after failures.
pub(crate) struct Images {
    runtime: Arc<dyn Runtime>,
    events: Events,
    objects: Arc<Objects>,
    backoff: Backoff,
    pulls: Option<Semaphore>,
    last_errors: parking_lot::Mutex<std::collections::BTreeMap<String, String>>,
}

fn failure(reason: &str, message: impl Into<String>) -> StartFailure {
    StartFailure { reason: reason.into(), message: message.into() }
}

impl Images {
    /// An image puller.
    pub(crate) fn new(runtime: Arc<dyn Runtime>, events: Events, objects: Arc<Objects>, config: &UpkeepConfig) -> Self {
        let limit = if config.serialize_pulls { Some(1) } else { config.parallel_pulls };
        Self {
            runtime,
            events,
            objects,
            backoff: Backoff::new(BACKOFF, MAX_BACKOFF),
            pulls: limit.map(|limit| Semaphore::new(limit.max(1) as usize)),
            last_errors: parking_lot::Mutex::default(),
        }
    }

    /// Forgets the failures of a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let prefix = format!("{uid}_");
        self.backoff.forget(&prefix);
        self.last_errors.lock().retain(|key, _| !key.starts_with(&prefix));
    }

    /// The image of the container, pulled if its policy says so.
    pub(crate) async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, StartFailure> {
        let wanted = container.image.as_deref().unwrap_or_default();
        let image = with_default_tag(wanted).map_err(|why| {
            let message = format!("Failed to apply default image tag {wanted:?}: {why}");
            self.events.container(pod, &container.name, Warning, "InspectFailed", &message);
            failure("InvalidImageName", message)
        })?;
        let present = self.runtime.image_status(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image {wanted:?}: {error}");
            self.events.container(pod, &container.name, Warning, "InspectFailed", &message);
            failure("ImageInspectError", message)
        })?;
        let always = match container.image_pull_policy.as_deref() {
            Some(policy) => policy == "Always",
            None => image.ends_with(":latest"),
        };
        let never = container.image_pull_policy.as_deref() == Some("Never");
        match present {
            Some(found) if !always => {
                let message =
                    format!("Container image {wanted:?} already present on machine and can be accessed by the pod");
                self.events.container(pod, &container.name, Normal, "Pulled", &message);
                Ok(found)
            }
            None if never => {
                let message = format!("Container image {wanted:?} is not present with pull policy of Never");
                self.events.container(pod, &container.name, Warning, "ErrImageNeverPull", &message);
                Err(failure("ErrImageNeverPull", message))
            }
            _ => self.pull(pod, container, &image, sandbox).await,
        }
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        image: &str,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, StartFailure> {
        let key = format!("{}_{image}", pod.pod_uid());
        let wanted = container.image.as_deref().unwrap_or_default();
        let now = clock::now();
        // The delay runs from the failure, which is when the entry was made.
        if let Some(error) = self.last_errors.lock().get(&key).cloned()
            && self.backoff.pending(&key, now)
        {
            let message = format!("Back-off pulling image {wanted:?}: ErrImagePull: {error}");
            self.events.container(
                pod,
                &container.name,
                Normal,
                "BackOff",
                &format!("Back-off pulling image {wanted:?}"),
            );
            return Err(failure("ImagePullBackOff", message));
        }
        self.events.container(pod, &container.name, Normal, "Pulling", &format!("Pulling image {wanted:?}"));
        let started = Instant::now();
        let permit = match &self.pulls {
            Some(pulls) => pulls.acquire().await.ok(),
            None => None,
        };
        let alone = Instant::now();
        let pulled = self.pull_with_credentials(pod, image, sandbox).await;
        drop(permit);
        match pulled {
            Ok(found) => {
                self.last_errors.lock().remove(&key);
                let message = format!(
                    "Successfully pulled image {wanted:?} in {} ({} including waiting). Image size: {} bytes.",
                    component_base::duration::format_duration(alone.elapsed()),
                    component_base::duration::format_duration(started.elapsed()),
                    found.size
                );
                self.events.container(pod, &container.name, Normal, "Pulled", &message);
                Ok(found)
            }
            Err(error) => {
                let message = format!("Failed to pull image {wanted:?}: {error}");
                self.events.container(pod, &container.name, Warning, "Failed", &message);
                self.events.container(pod, &container.name, Warning, "Failed", "Error: ErrImagePull");
                let now = clock::now();
                self.backoff.next(&key, now, now);
                self.last_errors.lock().insert(key, error.to_string());
                Err(failure("ErrImagePull", error.to_string()))
            }
        }
    }

    /// Tries the credentials that fit, then none.
    async fn pull_with_credentials(
        &self,
        pod: &Pod,
        image: &str,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, RuntimeError> {
        let internal = |message: String| RuntimeError::new(tonic::Code::Internal, message);
        let found = credentials::for_image(&self.objects, pod, image).await.map_err(internal)?;
        let mut attempts: Vec<Option<AuthConfig>> = found.into_iter().map(Some).collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let mut last = internal(format!("no attempt to pull {image:?}"));
        for auth in attempts {
            match self.runtime.pull_image(image, auth, Some(sandbox.clone())).await {
                Ok(reference) => {
                    let status = self.runtime.image_status(&reference).await?;
                    return status.ok_or_else(|| internal(format!("image {image:?} is not there after its pull")));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
