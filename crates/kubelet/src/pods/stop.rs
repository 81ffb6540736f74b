//! Stops containers and pods, with hooks and grace.

use super::actions::KillReason;
use crate::agent::Agent;
use crate::hooks;
use crate::pod::{self, PodExt};
use crate::runtime::RuntimeError;
use crate::runtime::view::{ContainerView, PodView, SandboxView};
use crate::spec::labels;
use api_types::k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod, PodSpec};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use controller_runtime::EventType::{Normal, Warning};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// A container always gets at least this long after its preStop hook.
const MIN_GRACE: i64 = 2;

/// Seconds for the container to end by itself.
fn grace_of(pod: &Pod, container: Option<&Container>, reason: Option<&KillReason>) -> i64 {
    let probe = match reason {
        Some(KillReason::Liveness) => container.and_then(|c| c.liveness_probe.as_ref()),
        Some(KillReason::Startup) => container.and_then(|c| c.startup_probe.as_ref()),
        _ => None,
    };
    match probe.and_then(|probe| probe.termination_grace_period_seconds).filter(|_| !pod.is_deleted()) {
        Some(seconds) => seconds,
        None => pod.grace_seconds(),
    }
}

/// Stops one container: event, preStop hook, stop signal, and SIGKILL at the end of the grace period.
pub(super) async fn container(
    agent: &Agent,
    pod: &Pod,
    run: &ContainerView,
    message: &str,
    reason: Option<&KillReason>,
    grace: Option<i64>,
) -> Result<(), RuntimeError> {
    let definition = pod.container(&run.name).map(|(_, container)| container);
    let message = match message {
        "" => format!("Stopping container {}", run.name),
        text => text.to_owned(),
    };
    agent.events.container(pod, &run.name, Normal, "Killing", &message);
    let mut left = grace.unwrap_or_else(|| grace_of(pod, definition.as_ref(), reason));
    let hook = definition.as_ref().and_then(|c| c.lifecycle.as_ref()).and_then(|lifecycle| lifecycle.pre_stop.clone());
    if let (Some(hook), Some(container), true) = (hook, &definition, left > 0) {
        left -= pre_stop(agent, pod, container, run, &hook, left).await;
    }
    if left < MIN_GRACE && grace.is_none_or(|grace| grace > 0) {
        left = MIN_GRACE;
    }
    agent.runtime.stop_container(&run.id, Duration::from_secs(u64::try_from(left).unwrap_or(0))).await
}

/// Runs a preStop hook; the seconds it took.
async fn pre_stop(
    agent: &Agent,
    pod: &Pod,
    container: &Container,
    run: &ContainerView,
    hook: &LifecycleHandler,
    left: i64,
) -> i64 {
    let ip = agent.statuses.status(pod).pod_ip.unwrap_or_default();
    let begun = Instant::now();
    let limit = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    match tokio::time::timeout(limit, hooks::run(agent, container, &run.id, &ip, hook)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => agent.events.container(pod, &run.name, Warning, "FailedPreStopHook", "PreStopHook failed"),
        Err(_) => {
            tracing::info!(pod = %pod.key(), container = %run.name, "preStop hook did not end within the grace period")
        }
    }
    i64::try_from(begun.elapsed().as_secs()).unwrap_or(left)
}

/// Stops everything of a pod: containers together, then sidecars one after the other in reverse order, then sandboxes.
pub(super) async fn whole_pod(
    agent: &Agent,
    pod: &Pod,
    view: &PodView,
    grace: Option<i64>,
) -> Result<(), RuntimeError> {
    let begun = Instant::now();
    let sidecar = |name: &str| pod.init().iter().any(|c| c.name == name && pod::is_sidecar(c));
    let (sidecars, others): (Vec<_>, Vec<_>) = view.running().partition(|run| sidecar(&run.name));
    for result in join_all(others.into_iter().map(|run| container(agent, pod, run, "", None, grace))).await {
        result?;
    }
    for definition in pod.init().iter().rev() {
        if let Some(run) = sidecars.iter().find(|run| run.name == definition.name) {
            let spent = i64::try_from(begun.elapsed().as_secs()).unwrap_or(0);
            let whole = grace.unwrap_or_else(|| grace_of(pod, Some(definition), None));
            let left = if whole == 0 { 0 } else { (whole - spent).max(MIN_GRACE) };
            container(agent, pod, run, "", None, Some(left)).await?;
        }
    }
    stop_sandboxes(agent, view.sandboxes.iter().filter(|sandbox| sandbox.ready)).await
}

async fn stop_sandboxes(agent: &Agent, sandboxes: impl Iterator<Item = &SandboxView>) -> Result<(), RuntimeError> {
    for sandbox in sandboxes {
        agent.runtime.stop_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// Removes what the runtime still has of a pod that has stopped.
pub(super) async fn remove(agent: &Agent, view: &PodView) -> Result<(), RuntimeError> {
    for run in &view.containers {
        agent.runtime.remove_container(&run.id).await?;
    }
    for sandbox in &view.sandboxes {
        agent.runtime.stop_pod_sandbox(&sandbox.id).await?;
        agent.runtime.remove_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// A pod of which only the runtime knows: as much of it as is needed to stop it properly.
pub(super) fn restore(namespace: &str, name: &str, uid: &str, view: &PodView) -> Pod {
    let definition = |run: &ContainerView| Container {
        name: run.name.clone(),
        lifecycle: run
            .annotations
            .get(labels::PRE_STOP)
            .and_then(|json| serde_json::from_str(json).ok())
            .map(|hook| Lifecycle { pre_stop: Some(hook), ..Lifecycle::default() }),
        ..Container::default()
    };
    let grace = view.containers.iter().find_map(|run| run.annotations.get(labels::GRACE)?.parse().ok());
    Pod {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            uid: Some(uid.into()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: view.running().map(definition).collect(),
            termination_grace_period_seconds: grace,
            ..PodSpec::default()
        }),
        status: None,
    }
}
