//! Container statuses from what the runtime reports. Pure.

use super::generate::Context;
use crate::pod::{self, PodExt, Role};
use crate::pods::actions::restarts_after;
use crate::runtime::view::{ContainerView, PodView, State};
use api_types::k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, Pod, VolumeMountStatus,
};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api_types::k8s_openapi::jiff::Timestamp;

/// Why a container did not start, as the last try said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// "ErrImagePull", "CrashLoopBackOff", ...
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Statuses of all containers of a role, in the order of the spec.
pub(crate) fn statuses(pod: &Pod, role: Role, view: &PodView, context: &Context<'_>) -> Vec<ContainerStatus> {
    let list: Vec<Container> = match role {
        Role::Init => pod.init().to_vec(),
        Role::Main => pod.main().to_vec(),
        Role::Ephemeral => pod.ephemeral().iter().map(pod::as_container).collect(),
    };
    list.iter().map(|container| status(pod, role, container, view, context)).collect()
}

fn status(pod: &Pod, role: Role, container: &Container, view: &PodView, context: &Context<'_>) -> ContainerStatus {
    let mut runs = view.containers.iter().filter(|run| run.name == container.name);
    let newest = runs.next();
    let mut out = match newest {
        Some(run) => from_run(container, run, context),
        None => never_seen(pod, container, context),
    };
    if let Some(previous) = runs.find(|run| run.state == State::Exited) {
        out.last_state = Some(terminated(previous, context));
    } else if newest.is_some_and(|run| run.restarts > 0) {
        // The runtime has forgotten the run before; the API has not.
        out.last_state = pod.known_status(&container.name).and_then(|known| known.last_state.clone());
    }
    if let Some(failure) = context.failures.get(&container.name).filter(|_| is_waiting_to_start(pod, container, newest))
    {
        if let Some(run) = newest.filter(|run| run.state == State::Exited) {
            out.last_state = Some(terminated(run, context));
        }
        out.state = Some(waiting(&failure.reason, &failure.message));
        out.started = Some(false);
    }
    out.ready = is_ready(role, container, newest, &out, context);
    if role == Role::Main || pod::is_sidecar(container) {
        out.started =
            Some(newest.is_some_and(|run| run.state == State::Running && context.probes.started(&run.id, container)));
    } else if role == Role::Init {
        out.started = Some(newest.is_some_and(|run| run.state == State::Running));
    }
    out
}

/// Whether the container would be started if nothing stood in its way.
fn is_waiting_to_start(pod: &Pod, container: &Container, newest: Option<&ContainerView>) -> bool {
    match newest {
        None => true,
        Some(run) => match run.state {
            State::Running => false,
            State::Created | State::Unknown => true,
            State::Exited => restarts_after(pod, container, run.exit_code),
        },
    }
}

fn is_ready(
    role: Role,
    container: &Container,
    newest: Option<&ContainerView>,
    out: &ContainerStatus,
    context: &Context<'_>,
) -> bool {
    let state = out.state.clone().unwrap_or_default();
    match role {
        Role::Ephemeral => false,
        Role::Init if !pod::is_sidecar(container) => state.terminated.is_some_and(|end| end.exit_code == 0),
        _ => newest.is_some_and(|run| {
            run.state == State::Running
                && context.probes.started(&run.id, container)
                && context.probes.ready(&run.id, container)
        }),
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn base(container: &Container) -> ContainerStatus {
    let mounts = container.volume_mounts.iter().flatten().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    });
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        volume_mounts: Some(mounts.collect::<Vec<_>>()).filter(|mounts| !mounts.is_empty()),
        ..ContainerStatus::default()
    }
}

/// The runtime has nothing of that name: it is to be created, or was lost.
fn never_seen(pod: &Pod, container: &Container, context: &Context<'_>) -> ContainerStatus {
    let mut out = base(container);
    let reason = if pod.init().is_empty() { "ContainerCreating" } else { "PodInitializing" };
    out.state = Some(waiting(reason, ""));
    let Some(known) = pod.known_status(&container.name) else { return out };
    out.restart_count = known.restart_count;
    out.last_state = known.last_state.clone();
    let Some(state) = &known.state else { return out };
    if state.terminated.is_some() {
        out.state = known.state.clone();
        out.container_id = known.container_id.clone();
        out.image_id = known.image_id.clone();
        out.resources = known.resources.clone();
        out.allocated_resources = known.allocated_resources.clone();
    } else if state.running.is_some() {
        let lost = lost_state(
            "The container could not be located when the pod was deleted.  The container used to be Running",
        );
        if context.terminating {
            out.state = Some(lost);
        } else {
            out.last_state = Some(lost);
            out.restart_count += 1;
        }
    }
    out
}

/// The end of a container of which nothing more is known.
pub(crate) fn lost_state(message: &str) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(message.into()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn time(at: Option<Timestamp>) -> Option<Time> {
    at.map(Time)
}

fn id(run: &ContainerView, context: &Context<'_>) -> String {
    format!("{}://{}", context.runtime_name, run.id)
}

fn terminated(run: &ContainerView, context: &Context<'_>) -> ContainerState {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let reason = match run.reason.as_str() {
        "" if run.exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    let words = context.last_words.get(&run.id).unwrap_or(&run.message);
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(id(run, context)),
            exit_code: run.exit_code,
            reason: text(reason),
            message: text(words),
            started_at: time(run.started),
            finished_at: time(run.finished),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

fn from_run(container: &Container, run: &ContainerView, context: &Context<'_>) -> ContainerStatus {
    let state = match run.state {
        State::Created => waiting("ContainerCreating", ""),
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(run.started) }),
            ..ContainerState::default()
        },
        State::Exited => terminated(run, context),
        State::Unknown => lost_state("The container could not be located when the pod was terminated"),
    };
    let applied = context.applied.get(&run.id).cloned().or_else(|| container.resources.clone()).unwrap_or_default();
    ContainerStatus {
        state: Some(state),
        container_id: Some(id(run, context)),
        image: if run.image.is_empty() { container.image.clone().unwrap_or_default() } else { run.image.clone() },
        image_id: run.image_ref.clone(),
        restart_count: i32::try_from(run.restarts).unwrap_or(i32::MAX),
        allocated_resources: applied.requests.clone(),
        resources: Some(applied),
        user: run.user.clone().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: Some(user.supplemental_groups).filter(|groups| !groups.is_empty()),
            }),
        }),
        ..base(container)
    }
}
