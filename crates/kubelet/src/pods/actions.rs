//! What to do about a pod, from what it should be and what the runtime has. Pure.
//!
//! The rules are upstream's (`kuberuntime_manager.go`, `computePodActions`; KEP-753 for sidecars): one changed or dead sandbox
//! replaces everything; init containers run one after the other, sidecars among them stay; a regular container that ended is
//! started again where its restart policy says so; a pod in which nothing runs and nothing is to be started is torn down.

use crate::pod::{PodExt, is_sidecar};
use crate::runtime::view::{ContainerView, PodView, State};
use crate::spec::container::hash;
use api_types::k8s_openapi::api::core::v1::{Container, Pod};

/// What the probes found out about containers, by the runtime's id.
pub(crate) trait ProbeResults {
    /// The liveness probe failed often enough.
    fn liveness_failed(&self, id: &str) -> bool;
    /// The startup probe: none while it has no result; whether it succeeded.
    fn startup(&self, id: &str) -> Option<bool>;
}

/// Why a container is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// Its definition changed.
    Changed,
    /// Its liveness probe failed.
    Liveness,
    /// Its startup probe failed.
    Startup,
    /// The runtime lost track of it.
    Unknown,
}

/// A container to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    /// The runtime's id.
    pub id: String,
    /// Name in the pod.
    pub name: String,
    /// Why.
    pub reason: KillReason,
    /// What the event says.
    pub message: String,
}

/// Everything to do about a pod in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PodActions {
    /// Stop all containers and the sandbox.
    pub kill_pod: bool,
    /// Create a sandbox (after stopping the old one).
    pub create_sandbox: bool,
    /// The sandbox to start containers in, when none is created.
    pub sandbox: Option<String>,
    /// Number of the sandbox to create.
    pub attempt: u32,
    /// Containers to stop.
    pub kill: Vec<Kill>,
    /// Init containers to start, by index.
    pub start_init: Vec<usize>,
    /// Ephemeral containers to start, by index.
    pub start_ephemeral: Vec<usize>,
    /// Regular containers to start, by index.
    pub start_main: Vec<usize>,
}

impl PodActions {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        !self.kill_pod
            && !self.create_sandbox
            && self.kill.is_empty()
            && self.start_init.is_empty()
            && self.start_ephemeral.is_empty()
            && self.start_main.is_empty()
    }
}

/// Whether a container that ended with this code runs again.
pub(crate) fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let codes = rule.exit_codes.as_ref();
        let listed = codes.is_some_and(|codes| codes.values.iter().flatten().any(|code| *code == exit_code));
        let matches = codes.is_some_and(|codes| listed == (codes.operator == "In"));
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or_else(|| pod.restart_policy()) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether the container is to be started, given the newest one of its name.
fn should_start(pod: &Pod, container: &Container, view: Option<&ContainerView>) -> bool {
    match view {
        _ if pod.is_deleted() => false,
        None => true,
        Some(view) => match view.state {
            State::Running => false,
            State::Created | State::Unknown => true,
            State::Exited => restarts_after(pod, container, view.exit_code),
        },
    }
}

/// Whether the sandbox has to be (re-)created: the attempt's number when so.
fn sandbox_changed(pod: &Pod, view: &PodView) -> Option<u32> {
    let Some(newest) = view.sandboxes.first() else { return Some(0) };
    let ready = view.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    let no_address = !pod.host_network() && newest.ips.is_empty();
    (ready != 1 || !newest.ready || newest.host_network != pod.host_network() || no_address)
        .then_some(newest.attempt + 1)
}

/// Decides.
pub(crate) fn compute(pod: &Pod, view: &PodView, probes: &dyn ProbeResults) -> PodActions {
    if let Some(attempt) = sandbox_changed(pod, view) {
        return new_sandbox(pod, view, attempt);
    }
    let mut actions =
        PodActions { sandbox: view.sandboxes.first().map(|sandbox| sandbox.id.clone()), ..PodActions::default() };
    for (index, container) in pod.ephemeral().iter().enumerate() {
        if view.newest(&container.name).is_none() {
            actions.start_ephemeral.push(index);
        }
    }
    if init_containers(pod, view, probes, &mut actions) && !actions.kill_pod {
        main_containers(pod, view, probes, &mut actions);
    }
    actions
}

/// Everything starts over in a new sandbox, unless the pod has run to its end.
fn new_sandbox(pod: &Pod, view: &PodView, attempt: u32) -> PodActions {
    let mut actions = PodActions { kill_pod: true, attempt, ..PodActions::default() };
    let any_restarts = pod.init().iter().chain(pod.main()).any(|c| restarts_after(pod, c, 1));
    if attempt != 0 && !view.containers.is_empty() && !any_restarts {
        return actions;
    }
    let start: Vec<usize> = (pod.main().iter().enumerate())
        .filter(|(_, container)| match view.newest(&container.name) {
            Some(old) if old.state == State::Exited => restarts_after(pod, container, old.exit_code),
            _ => true,
        })
        .map(|(index, _)| index)
        .collect();
    if start.is_empty() {
        return actions;
    }
    actions.create_sandbox = true;
    match pod.init().is_empty() {
        true => actions.start_main = start,
        false => actions.start_init = vec![0],
    }
    actions
}

fn kill(view: &ContainerView, reason: KillReason, text: String, restarted: bool) -> Kill {
    let message = if restarted { format!("{text}, will be restarted") } else { text };
    Kill { id: view.id.clone(), name: view.name.clone(), reason, message }
}

/// The reason to stop a running container, if there is one: a changed definition or a failed probe.
fn reason_to_kill(
    container: &Container,
    view: &ContainerView,
    probes: &dyn ProbeResults,
) -> Option<(KillReason, String)> {
    let name = &container.name;
    if !view.hash.is_empty() && view.hash != hash(container) {
        Some((KillReason::Changed, format!("Container {name} definition changed")))
    } else if probes.liveness_failed(&view.id) {
        Some((KillReason::Liveness, format!("Container {name} failed liveness probe")))
    } else if probes.startup(&view.id) == Some(false) {
        Some((KillReason::Startup, format!("Container {name} failed startup probe")))
    } else {
        None
    }
}

/// Plans the init containers; returns whether the regular containers may be looked at.
fn init_containers(pod: &Pod, view: &PodView, probes: &dyn ProbeResults, actions: &mut PodActions) -> bool {
    let init = pod.init();
    if init.is_empty() {
        return true;
    }
    let initialized = pod.main().iter().any(|container| view.newest_active(&container.name).is_some());
    let last_seen = init.iter().rposition(|container| view.newest_active(&container.name).is_some());
    let current = match last_seen {
        _ if initialized => init.len(),
        Some(index) => index,
        None => {
            actions.start_init.push(0);
            return false;
        }
    };
    for (index, container) in init.iter().enumerate().take(current).filter(|(_, container)| is_sidecar(container)) {
        keep_sidecar(index, container, view, probes, actions);
    }
    let Some(container) = init.get(current) else { return true };
    let Some(state) = view.newest_active(&container.name) else { return false };
    let done = match is_sidecar(container) {
        true => sidecar_started(current, container, state, probes, actions),
        false => init_ended(pod, current, container, state, actions),
    };
    if done && current + 1 < init.len() {
        actions.start_init.push(current + 1);
        return false;
    }
    done
}

/// A sidecar behind the current point must run.
fn keep_sidecar(
    index: usize,
    container: &Container,
    view: &PodView,
    probes: &dyn ProbeResults,
    actions: &mut PodActions,
) {
    let Some(state) = view.newest_active(&container.name) else {
        actions.start_init.push(index);
        return;
    };
    match state.state {
        State::Running => {
            if let Some((reason, text)) = reason_to_kill(container, state, probes) {
                actions.kill.push(kill(state, reason, text, true));
                actions.start_init.push(index);
            }
        }
        State::Created | State::Exited => actions.start_init.push(index),
        State::Unknown => restart_unknown(index, container, state, actions),
    }
}

fn restart_unknown(index: usize, container: &Container, state: &ContainerView, actions: &mut PodActions) {
    let text = format!("Init container {} is in {:?} state, try killing it before restart", container.name, "unknown");
    actions.kill.push(kill(state, KillReason::Unknown, text, false));
    actions.start_init.push(index);
}

/// Whether the sidecar at the current point has started, so that the next may follow.
fn sidecar_started(
    index: usize,
    container: &Container,
    state: &ContainerView,
    probes: &dyn ProbeResults,
    actions: &mut PodActions,
) -> bool {
    match state.state {
        State::Running => {
            if let Some((reason, text)) = reason_to_kill(container, state, probes) {
                actions.kill.push(kill(state, reason, text, true));
                actions.start_init.push(index);
                return false;
            }
            container.startup_probe.is_none() || probes.startup(&state.id) == Some(true)
        }
        State::Created | State::Exited => {
            actions.start_init.push(index);
            false
        }
        State::Unknown => {
            restart_unknown(index, container, state, actions);
            false
        }
    }
}

/// Whether the init container at the current point has ended well.
fn init_ended(pod: &Pod, index: usize, container: &Container, state: &ContainerView, actions: &mut PodActions) -> bool {
    match state.state {
        State::Running => false,
        State::Exited if state.exit_code == 0 => true,
        State::Exited if restarts_after(pod, container, state.exit_code) => {
            actions.start_init.push(index);
            false
        }
        // Failed for good: the pod has failed, and what still runs of it (sidecars) goes.
        State::Exited => {
            actions.kill_pod = true;
            actions.start_init.clear();
            false
        }
        State::Created => {
            actions.start_init.push(index);
            false
        }
        State::Unknown => {
            restart_unknown(index, container, state, actions);
            false
        }
    }
}

fn main_containers(pod: &Pod, view: &PodView, probes: &dyn ProbeResults, actions: &mut PodActions) {
    let mut kept = 0;
    for (index, container) in pod.main().iter().enumerate() {
        let newest = view.newest(&container.name);
        let Some(state) = newest.filter(|state| state.state == State::Running) else {
            if should_start(pod, container, newest) {
                if let Some(lost) = newest.filter(|state| state.state == State::Unknown) {
                    let text = format!("Container is in {:?} state, try killing it before restart", "unknown");
                    actions.kill.push(kill(lost, KillReason::Unknown, text, false));
                }
                actions.start_main.push(index);
            }
            continue;
        };
        let Some((reason, text)) = reason_to_kill(container, state, probes) else {
            kept += 1;
            continue;
        };
        // 137 stands for any failure: the container will end by our signal.
        let restart = reason == KillReason::Changed || restarts_after(pod, container, 137);
        actions.kill.push(kill(state, reason, text, restart));
        if restart {
            actions.start_main.push(index);
        }
    }
    if kept == 0 && actions.start_main.is_empty() {
        actions.kill_pod = true;
        // Sidecars do not keep a pod alive.
        actions.start_init.clear();
    }
}

#[cfg(test)]
mod tests;
