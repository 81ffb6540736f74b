//! The pod's conditions that the kubelet owns. Pure.

use super::generate::Context;
use crate::pod::{self, PodExt};
use crate::runtime::view::PodView;
use api_types::k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodStatus};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The sandbox has its network.
pub(crate) const READY_TO_START: &str = "PodReadyToStartContainers";
/// Init containers have ended.
pub(crate) const INITIALIZED: &str = "Initialized";
/// The pod may get traffic.
pub(crate) const READY: &str = "Ready";
/// All containers are ready.
pub(crate) const CONTAINERS_READY: &str = "ContainersReady";
/// The pod has a node.
pub(crate) const SCHEDULED: &str = "PodScheduled";

/// Types that only the kubelet writes.
pub(crate) const OWNED: &[&str] =
    &[READY_TO_START, INITIALIZED, READY, CONTAINERS_READY, "PodResizePending", "PodResizeInProgress"];

/// Status, reason and message of a condition.
type Finding = (bool, &'static str, String);

const HOLDS: Finding = (true, "", String::new());

/// The kubelet's conditions for a status with everything else filled in.
pub(crate) fn all(pod: &Pod, status: &PodStatus, view: &PodView, context: &Context<'_>) -> Vec<PodCondition> {
    let phase = status.phase.as_deref().unwrap_or_default();
    let sandbox = view.active_sandbox().is_some_and(|sandbox| pod.host_network() || !sandbox.ips.is_empty());
    let containers_ready = containers_ready(pod, status, phase);
    let ready = ready(pod, &containers_ready);
    vec![
        make(pod, READY_TO_START, (sandbox, "", String::new()), context),
        make(pod, INITIALIZED, initialized(pod, status, phase), context),
        make(pod, READY, ready, context),
        make(pod, CONTAINERS_READY, containers_ready, context),
        make(pod, SCHEDULED, HOLDS, context),
    ]
}

/// A condition, with the transition time of the one before where its status is the same.
fn make(pod: &Pod, type_: &str, (holds, reason, message): Finding, context: &Context<'_>) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let before = context.before.conditions.iter().flatten().find(|old| old.type_ == type_ && old.status == status);
    let since = before.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(context.now));
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    PodCondition {
        type_: type_.into(),
        status: status.into(),
        reason: text(reason),
        message: text(&message),
        last_transition_time: Some(since),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    }
}

fn find<'a>(list: Option<&'a Vec<ContainerStatus>>, name: &str) -> Option<&'a ContainerStatus> {
    list.into_iter().flatten().find(|status| status.name == name)
}

fn initialized(pod: &Pod, status: &PodStatus, phase: &str) -> Finding {
    let any_started = (status.container_statuses.iter().flatten()).any(|status| {
        status.container_id.is_some() || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    });
    if phase == "Succeeded" {
        return (true, "PodCompleted", String::new());
    }
    if any_started {
        return HOLDS;
    }
    let done = |container: &Container| {
        find(status.init_container_statuses.as_ref(), &container.name).is_some_and(|status| {
            match pod::is_sidecar(container) {
                true => status.started == Some(true),
                false => status.ready,
            }
        })
    };
    let open: Vec<&str> = pod.init().iter().filter(|c| !done(c)).map(|c| c.name.as_str()).collect();
    match open.is_empty() {
        true => HOLDS,
        false => {
            (false, "ContainersNotInitialized", format!("containers with incomplete status: [{}]", open.join(" ")))
        }
    }
}

fn containers_ready(pod: &Pod, status: &PodStatus, phase: &str) -> Finding {
    match phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let sidecars = pod.init().iter().filter(|container| pod::is_sidecar(container));
    let sidecars = sidecars.map(|c| (c, status.init_container_statuses.as_ref()));
    for (container, list) in sidecars.chain(pod.main().iter().map(|c| (c, status.container_statuses.as_ref()))) {
        match find(list, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    let part = |what: &str, names: &[&str]| {
        (!names.is_empty()).then(|| format!("containers with {what} status: [{}]", names.join(" ")))
    };
    let parts: Vec<String> = [part("unknown", &unknown), part("unready", &unready)].into_iter().flatten().collect();
    match parts.is_empty() {
        true => HOLDS,
        false => (false, "ContainersNotReady", parts.join(", ")),
    }
}

fn ready(pod: &Pod, containers: &Finding) -> Finding {
    if !containers.0 {
        return containers.clone();
    }
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut messages = Vec::new();
    for gate in pod.spec().readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match known.into_iter().flatten().find(|condition| condition.type_ == *type_) {
            None => messages.push(format!("corresponding condition of pod readiness gate {type_:?} does not exist.")),
            Some(condition) if condition.status != "True" => {
                messages.push(format!(
                    "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                    condition.status
                ));
            }
            Some(_) => {}
        }
    }
    match messages.is_empty() {
        true => HOLDS,
        false => (false, "ReadinessGatesNotReady", messages.join(", ")),
    }
}
