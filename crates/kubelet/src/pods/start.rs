//! Starts one container: backoff, image, environment, mounts, create, start, postStart hook.

use super::stop;
use crate::agent::Agent;
use crate::hooks;
use crate::pod::PodExt;
use crate::runtime::view::{ContainerView, PodView, State};
use crate::spec::container::{Prepared, hash, log_path};
use crate::spec::env::{self, Sources};
use crate::spec::fields::Addresses;
use crate::spec::{container as spec_container, sandbox, security, service_env};
use crate::status::containers::StartFailure;
use crate::volumes::{VolumePaths, mounts};
use api_types::k8s_openapi::api::core::v1::{Container, Pod};
use component_base::clock;
use controller_runtime::EventType::{Normal, Warning};
use k8s_cri::v1::PodSandboxConfig;
use std::collections::BTreeMap;

/// Where and among what a container starts.
pub(super) struct Place<'a> {
    pub(super) pod: &'a Pod,
    pub(super) sandbox: &'a str,
    pub(super) sandbox_config: &'a PodSandboxConfig,
    pub(super) pod_ips: &'a [String],
    pub(super) volumes: &'a VolumePaths,
    pub(super) view: &'a PodView,
}

fn failure(reason: &str, message: impl Into<String>) -> StartFailure {
    StartFailure { reason: reason.into(), message: message.into() }
}

/// The key of a container's delay between restarts.
fn crash_key(pod: &Pod, container: &Container) -> String {
    format!("{}_{}_{}", pod.pod_uid(), container.name, hash(container))
}

/// How long until the container may be started again.
pub(super) fn crash_delay(
    agent: &Agent,
    pod: &Pod,
    container: &Container,
    view: &PodView,
) -> Option<std::time::Duration> {
    let ended = view.newest(&container.name)?.finished?;
    agent.crashes.waiting(&crash_key(pod, container), ended, clock::now()).map(|(left, _)| left)
}

/// Refuses while the container's last end is too recent; else notes the new try.
fn crash_backoff(agent: &Agent, place: &Place<'_>, container: &Container) -> Result<(), StartFailure> {
    let pod = place.pod;
    let Some(last) = place.view.newest(&container.name).filter(|run| run.state == State::Exited) else { return Ok(()) };
    let ended = last.finished.unwrap_or(last.created);
    let (key, now) = (crash_key(pod, container), clock::now());
    if let Some((_, delay)) = agent.crashes.waiting(&key, ended, now) {
        let long = pod.long_name();
        let event = format!("Back-off restarting failed container {} in pod {long}", container.name);
        agent.events.container(pod, &container.name, Warning, "BackOff", &event);
        let delay = component_base::duration::format_duration(delay);
        let message = format!("back-off {delay} restarting failed container={} pod={long}", container.name);
        return Err(failure("CrashLoopBackOff", message));
    }
    agent.crashes.next(&key, ended, now);
    Ok(())
}

/// Starts before this one.
fn restarts(pod: &Pod, container: &Container, last: Option<&ContainerView>) -> u32 {
    match (last, pod.known_status(&container.name)) {
        (Some(last), _) => last.restarts + 1,
        (None, Some(known)) if known.container_id.is_some() => u32::try_from(known.restart_count).unwrap_or(0) + 1,
        _ => 0,
    }
}

/// Starts a container. Containers that restart wait out their delay.
pub(super) async fn container(agent: &Agent, place: &Place<'_>, container: &Container) -> Result<(), StartFailure> {
    crash_backoff(agent, place, container)?;
    let pod = place.pod;
    let fail = |reason: &str, message: String| {
        agent.events.container(pod, &container.name, Warning, "Failed", &format!("Error: {message}"));
        failure(reason, message)
    };
    let image = agent.images.ensure(pod, container, place.sandbox_config).await?;
    security::verify_non_root(pod, container, &image).map_err(|why| fail("CreateContainerConfigError", why))?;
    let env = environment(agent, place, container).await.map_err(|why| fail("CreateContainerConfigError", why))?;
    let mounts = mounts::of_container(agent, pod, container, place.volumes, &env, place.pod_ips).await;
    let mounts = mounts.map_err(|why| fail("CreateContainerConfigError", why))?;
    let restarts = restarts(pod, container, place.view.newest(&container.name));
    let log_dir = sandbox::log_dir(&agent.config, pod).join(&container.name);
    let made = agent.host.make_dir(&log_dir, 0o755).await;
    made.map_err(|error| fail("CreateContainerConfigError", format!("create container log directory: {error}")))?;
    let prepared = Prepared {
        image_ref: &image.id,
        image: Some(&image),
        env: &env,
        mounts,
        restarts,
        machine: &agent.machine,
        security: &agent.security,
    };
    let config = spec_container::config(&agent.config, pod, container, prepared);
    let created = agent.runtime.create_container(place.sandbox, config, place.sandbox_config.clone()).await;
    let id = created.map_err(|error| fail("CreateContainerError", error.message))?;
    agent.events.container(pod, &container.name, Normal, "Created", "Container created");
    let started = agent.runtime.start_container(&id).await;
    started.map_err(|error| fail("RunContainerError", error.message))?;
    agent.events.container(pod, &container.name, Normal, "Started", "Container started");
    link_log(agent, pod, container, &id, restarts).await;
    post_start(agent, place, container, &id).await
}

async fn environment(
    agent: &Agent,
    place: &Place<'_>,
    container: &Container,
) -> Result<BTreeMap<String, String>, String> {
    let pod = place.pod;
    let (maps, secrets) = env::references(container);
    let mut sources = Sources::default();
    for name in maps {
        let found = agent.objects.config_map(pod.ns(), &name).await.map_err(|error| error.to_string())?;
        sources.config_maps.insert(name, found);
    }
    for name in secrets {
        let found = agent.objects.secret(pod.ns(), &name).await.map_err(|error| error.to_string())?;
        sources.secrets.insert(name, found);
    }
    let links = pod.spec().enable_service_links.unwrap_or(true);
    let services = match &agent.services {
        Some(informer) => {
            let all = informer.store().list();
            service_env::variables(all.iter().map(AsRef::as_ref), pod.ns(), links)
        }
        None => BTreeMap::new(),
    };
    let addresses = Addresses { pod: place.pod_ips.to_vec(), host: agent.node.host_ips() };
    let allocatable = agent.node.allocatable();
    let context =
        env::Context { sources: &sources, services: &services, addresses: &addresses, allocatable: &allocatable };
    env::environment(pod, container, &context)
}

/// The link by which log collectors find the log; losing one is no reason to fail a container.
async fn link_log(agent: &Agent, pod: &Pod, container: &Container, id: &str, restarts: u32) {
    let Some(dir) = &agent.config.paths.container_links else { return };
    let target = sandbox::log_dir(&agent.config, pod).join(log_path(&container.name, restarts));
    let link = dir.join(format!("{}_{}_{}-{id}.log", pod.pod_name(), pod.ns(), container.name));
    let linked = match agent.host.make_dir(dir, 0o755).await {
        Ok(()) => agent.host.symlink(&target, &link).await,
        Err(error) => Err(error),
    };
    if let Err(error) = linked {
        tracing::warn!(pod = %pod.key(), container = %container.name, %error, "could not link the container's log");
    }
}

async fn post_start(agent: &Agent, place: &Place<'_>, container: &Container, id: &str) -> Result<(), StartFailure> {
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
    let Some(hook) = hook else { return Ok(()) };
    let ip = place.pod_ips.first().map_or("", String::as_str);
    let Err(why) = hooks::run(agent, container, id, ip, hook).await else { return Ok(()) };
    tracing::info!(pod = %place.pod.key(), container = %container.name, %why, "postStart hook failed");
    agent.events.container(place.pod, &container.name, Warning, "FailedPostStartHook", "PostStartHook failed");
    let fresh = crate::runtime::view::read(agent.runtime.as_ref(), place.pod.pod_uid()).await;
    if let Some(run) = fresh.ok().and_then(|view| view.containers.into_iter().find(|run| run.id == id)) {
        let killed = stop::container(agent, place.pod, &run, "FailedPostStartHook", None, None).await;
        if let Err(error) = killed {
            tracing::warn!(pod = %place.pod.key(), container = %container.name, %error, "could not stop a container");
        }
    }
    Err(failure("PostStartHookError", why))
}
