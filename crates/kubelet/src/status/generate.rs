//! A pod's status from its spec, what the runtime has of it and what the probes say. Pure.

use super::conditions;
use super::containers::{self, StartFailure};
use crate::pod::{self, PodExt, Role};
use crate::pods::actions::restarts_after;
use crate::runtime::view::PodView;
use api_types::k8s_openapi::api::core::v1::{Container, ContainerStatus, HostIP, Pod, PodIP, PodStatus};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api_types::k8s_openapi::jiff::Timestamp;
use component_helpers::qos;
use std::collections::BTreeMap;

/// What the probes found out.
pub(crate) trait Readiness {
    /// Whether the container has started: no startup probe, or it succeeded.
    fn started(&self, id: &str, container: &Container) -> bool;
    /// Whether the container is ready: no readiness probe, or it succeeded.
    fn ready(&self, id: &str, container: &Container) -> bool;
}

/// What a status is made from beside the pod and the runtime's view.
pub(crate) struct Context<'a> {
    /// Probe results.
    pub probes: &'a dyn Readiness,
    /// Why containers did not start, by container name.
    pub failures: &'a BTreeMap<String, StartFailure>,
    /// Termination messages by container id.
    pub last_words: &'a BTreeMap<String, String>,
    /// Resources that containers run with, by container id.
    pub(crate) applied: &'a crate::pods::resize::Applied,
    /// "containerd".
    pub runtime_name: &'a str,
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The status before this one.
    pub before: &'a PodStatus,
    /// The wall clock.
    pub now: Timestamp,
    /// The pod is being stopped, or has been.
    pub terminating: bool,
    /// The pod ends with this phase's reason and message whatever its containers say (eviction, deadline, rejection).
    pub verdict: Option<&'a StartFailure>,
}

/// The status.
pub(crate) fn generate(pod: &Pod, view: &PodView, context: &Context<'_>) -> PodStatus {
    let of = |role| Some(containers::statuses(pod, role, view, context)).filter(|list| !list.is_empty());
    let mut status = PodStatus {
        init_container_statuses: of(Role::Init),
        container_statuses: of(Role::Main),
        ephemeral_container_statuses: of(Role::Ephemeral),
        qos_class: Some(qos::pod_qos(pod).as_str().into()),
        start_time: context.before.start_time.clone().or(Some(Time(context.now))),
        observed_generation: pod.metadata.generation,
        nominated_node_name: pod.status.as_ref().and_then(|status| status.nominated_node_name.clone()),
        resource_claim_statuses: pod.status.as_ref().and_then(|status| status.resource_claim_statuses.clone()),
        ..PodStatus::default()
    };
    status.phase = Some(phase(pod, &status, context.terminating && view.is_stopped()).into());
    if let Some(verdict) = context.verdict {
        if view.containers.is_empty() {
            // Rejected: there is nothing to say of containers that never were, and clients show the reason.
            (status.container_statuses, status.init_container_statuses) = (None, None);
        }
        status.phase = Some("Failed".into());
        (status.reason, status.message) = (Some(verdict.reason.clone()), Some(verdict.message.clone()));
    }
    hold_back_end(&mut status, view, context);
    addresses(pod, view, context, &mut status);
    status.conditions = Some(conditions::all(pod, &status, view, context));
    status
}

/// A phase that is final stays; one that becomes final waits until nothing of the pod runs any more.
fn hold_back_end(status: &mut PodStatus, view: &PodView, context: &Context<'_>) {
    let is_final = |phase: Option<&str>| matches!(phase, Some("Succeeded" | "Failed"));
    let before = context.before;
    let keep = is_final(before.phase.as_deref())
        || (is_final(status.phase.as_deref()) && view.running().next().is_some() && before.phase.is_some());
    if keep {
        status.phase = before.phase.clone();
        status.reason = before.reason.clone();
        status.message = before.message.clone();
    }
}

fn addresses(pod: &Pod, view: &PodView, context: &Context<'_>, status: &mut PodStatus) {
    let host: Vec<HostIP> = context.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    status.host_ip = host.first().map(|host| host.ip.clone());
    status.host_ips = Some(host).filter(|list| !list.is_empty());
    let mut ips = view.ips();
    if pod.host_network() && !view.sandboxes.is_empty() {
        ips = context.host_ips.to_vec();
    }
    if ips.is_empty() && context.terminating {
        // The sandbox is gone; the address stays for those who look at the end of the pod.
        ips = context.before.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|list| !list.is_empty());
}

#[derive(Default)]
struct Count {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    restarting: usize,
}

/// The exit code with which the container ended, if it ended (perhaps to be started again).
fn ended(status: &ContainerStatus) -> Option<i32> {
    let end = |state: &Option<_>| -> Option<i32> {
        let state: &api_types::k8s_openapi::api::core::v1::ContainerState = state.as_ref()?;
        state.terminated.as_ref().map(|end| end.exit_code)
    };
    match status.state.as_ref().is_some_and(|state| state.waiting.is_some()) {
        true => end(&status.last_state),
        false => end(&status.state),
    }
}

fn phase(pod: &Pod, status: &PodStatus, over: bool) -> &'static str {
    let by_name = |list: &Option<Vec<ContainerStatus>>, name: &str| {
        list.iter().flatten().find(|status| status.name == name).cloned()
    };
    let started = status.container_statuses.iter().flatten().any(|status| status.container_id.is_some());
    let mut pending_init = false;
    for container in pod.init() {
        let Some(state) = by_name(&status.init_container_statuses, &container.name) else { continue };
        let sidecar = pod::is_sidecar(container);
        match ended(&state) {
            Some(code) if code != 0 && !sidecar && !restarts_after(pod, container, code) => return "Failed",
            Some(0) if !sidecar => {}
            _ => pending_init |= if sidecar { state.started != Some(true) } else { true },
        }
    }
    let mut count = Count::default();
    for container in pod.main() {
        tally(pod, container, by_name(&status.container_statuses, &container.name), &mut count);
    }
    if over {
        return if count.stopped == count.succeeded && count.waiting == 0 && count.stopped > 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    match count {
        _ if pending_init && !started => "Pending",
        Count { waiting: 1.., .. } => "Pending",
        Count { running: 1.., unknown: 0, .. } => "Running",
        Count { stopped: 1.., unknown: 0, restarting: 1.., .. } => "Running",
        Count { stopped: 1.., unknown: 0, .. } if count.stopped == count.succeeded => "Succeeded",
        Count { stopped: 1.., unknown: 0, .. } => "Failed",
        _ => "Pending",
    }
}

fn tally(pod: &Pod, container: &Container, status: Option<ContainerStatus>, count: &mut Count) {
    let Some(status) = status else {
        count.unknown += 1;
        return;
    };
    let state = status.state.clone().unwrap_or_default();
    match (state.running.is_some(), ended(&status)) {
        (true, _) => count.running += 1,
        (false, Some(code)) => {
            count.stopped += 1;
            count.succeeded += usize::from(code == 0);
            count.restarting += usize::from(restarts_after(pod, container, code));
        }
        (false, None) => count.waiting += 1,
    }
}

#[cfg(test)]
mod tests;
