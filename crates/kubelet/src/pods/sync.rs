//! One pass over a pod: look, publish its status, decide, act, look again.

use super::actions::{self, PodActions};
use super::admission::{self, Facts};
use super::resize::{self, Applied, Obstacle};
use super::start::{self, Place};
use super::{mirror, stop};
use crate::agent::Agent;
use crate::pod::{self, PodExt};
use crate::runtime::view::{self, PodView, State};
use crate::spec::{resources, sandbox};
use crate::status::containers::StartFailure;
use crate::status::generate::{Context, generate};
use crate::volumes::{self, VolumePaths};
use api_types::k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use component_base::clock;
use controller_runtime::EventType::{Normal, Warning};
use k8s_cri::v1::PodSandboxConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// When something failed, the next try is made after this.
const RETRY: Duration = Duration::from_secs(10);
/// Volumes are tried again sooner at first: what they need often appears moments later.
const VOLUME_RETRY: Duration = Duration::from_millis(500);
const VOLUME_RETRY_MAX: Duration = Duration::from_secs(32);
/// What a termination message may hold, from its file and from a log.
const MESSAGE_MAX: usize = 4096;
const LOG_TAIL_MAX: usize = 2048;
const LOG_TAIL_LINES: usize = 80;

/// What a worker remembers of its pod between passes.
#[derive(Default)]
pub(super) struct Memory {
    failures: BTreeMap<String, StartFailure>,
    last_words: BTreeMap<String, String>,
    admitted: bool,
    verdict: Option<StartFailure>,
    volume_delay: Option<Duration>,
    applied: Applied,
    obstacle: Option<Obstacle>,
}

/// How a pass ended.
pub(super) enum Pass {
    /// Look again after this time, whatever happens.
    Again(Duration),
    /// The pod has run to its end, or was rejected.
    Ended,
}

/// Reads the pod from the runtime and publishes what its status is now.
pub(super) async fn publish(
    agent: &Agent,
    pod: &Arc<Pod>,
    memory: &mut Memory,
    terminating: bool,
) -> Result<(PodView, PodStatus), String> {
    let view = view::read(agent.runtime.as_ref(), pod.pod_uid()).await.map_err(|error| error.to_string())?;
    collect_last_words(agent, &view, memory).await;
    resize::observe(pod, &view, &mut memory.applied);
    let before = agent.statuses.status(pod);
    let context = Context {
        probes: agent.probes.as_ref(),
        failures: &memory.failures,
        last_words: &memory.last_words,
        applied: &memory.applied,
        runtime_name: &agent.runtime_name,
        host_ips: &agent.node.host_ips(),
        before: &before,
        now: clock::now(),
        terminating,
        verdict: memory.verdict.as_ref(),
    };
    let mut status = generate(pod, &view, &context);
    if let (Some(obstacle), Some(conditions)) = (&memory.obstacle, &mut status.conditions) {
        let old = before.conditions.iter().flatten().find(|old| old.type_.starts_with("PodResize"));
        conditions.push(obstacle.condition(pod, old));
    }
    agent.statuses.set(pod, status.clone());
    agent.probes.kick(pod.pod_uid());
    Ok((view, status))
}

/// Reads the termination messages of containers that ended.
async fn collect_last_words(agent: &Agent, view: &PodView, memory: &mut Memory) {
    memory.last_words.retain(|id, _| view.containers.iter().any(|run| run.id == *id));
    for run in view.containers.iter().filter(|run| run.state == State::Exited) {
        if memory.last_words.contains_key(&run.id) {
            continue;
        }
        let mut text = String::new();
        if let Some(file) = &run.message_file
            && let Ok(Some(mut bytes)) = agent.host.read(Path::new(file)).await
        {
            bytes.truncate(MESSAGE_MAX);
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        let policy = run.annotations.get(crate::spec::labels::MESSAGE_POLICY).map(String::as_str);
        if text.is_empty()
            && policy == Some("FallbackToLogsOnError")
            && run.exit_code != 0
            && let Ok(Some(bytes)) = agent.host.read(Path::new(&run.log)).await
        {
            text = crate::logs::tail_text(&bytes, LOG_TAIL_LINES, LOG_TAIL_MAX);
        }
        if !text.is_empty() {
            memory.last_words.insert(run.id.clone(), text);
        }
    }
}

/// One pass.
pub(super) async fn pod(agent: &Agent, pod: &Arc<Pod>, memory: &mut Memory) -> Result<Pass, String> {
    if memory.verdict.is_none() {
        memory.verdict = admit(agent, pod, memory).err().or_else(|| deadline(agent, pod));
    }
    let (view, status) = publish(agent, pod, memory, false).await?;
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if over || memory.verdict.is_some() {
        return Ok(Pass::Ended);
    }
    if let Some(why) = agent.node.network_error().filter(|_| !pod.host_network()) {
        agent.events.pod(pod, Warning, "NetworkNotReady", &format!("network is not ready: {why}"));
        return Ok(Pass::Again(RETRY));
    }
    if pod.is_static() {
        mirror::ensure(agent, pod)
            .await
            .unwrap_or_else(|error| tracing::warn!(pod = %pod.key(), %error, "could not create the mirror pod"));
    }
    let resized = resize::pod(agent, pod, &view, &mut memory.applied).await;
    if resized != memory.obstacle {
        memory.obstacle = resized;
        publish(agent, pod, memory, false).await?;
    }
    if memory.obstacle.is_none() {
        ensure_cgroup(agent, pod).await?;
    }
    let volumes = match volumes::set_up(agent, pod).await {
        Ok(volumes) => volumes,
        Err(why) => {
            agent.events.pod(pod, Warning, "FailedMount", &why);
            let delay = memory.volume_delay.map_or(VOLUME_RETRY, |delay| (delay * 2).min(VOLUME_RETRY_MAX));
            memory.volume_delay = Some(delay);
            return Ok(Pass::Again(delay));
        }
    };
    memory.volume_delay = None;
    agent.probes.add(pod);
    let actions = actions::compute(pod, &view, agent.probes.as_ref());
    if actions.is_empty() {
        return Ok(Pass::Again(next_look(agent, pod)));
    }
    let done = act(agent, pod, &view, &actions, &volumes, memory).await;
    let (view, status) = publish(agent, pod, memory, false).await?;
    done?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Ok(Pass::Ended);
    }
    Ok(Pass::Again(after_failures(agent, pod, &view, memory)))
}

/// Admission, once per worker; a pod that has started before is not asked again.
fn admit(agent: &Agent, pod: &Pod, memory: &mut Memory) -> Result<(), StartFailure> {
    if memory.admitted {
        return Ok(());
    }
    let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let node = agent.node.object();
    let allocatable = agent.node.allocatable();
    let facts =
        Facts { node: node.as_deref(), allocatable: &allocatable, sysctls: &agent.config.allowed_unsafe_sysctls };
    let answer =
        agent.pods.admit(pod.pod_uid(), |others| if started { Ok(()) } else { admission::admit(pod, others, &facts) });
    memory.admitted = true;
    answer.map_err(|no| {
        agent.events.pod(pod, Warning, &no.reason, &no.message);
        StartFailure { message: format!("Pod was rejected: {}", no.message), ..no }
    })
}

fn seconds_left(agent: &Agent, pod: &Pod) -> Option<i64> {
    let limit = pod.spec().active_deadline_seconds?;
    let start = agent.statuses.status(pod).start_time?;
    Some(start.0.as_second() + limit - clock::now().as_second())
}

fn deadline(agent: &Agent, pod: &Pod) -> Option<StartFailure> {
    (seconds_left(agent, pod)? <= 0).then(|| {
        let message = "Pod was active on the node longer than the specified deadline";
        agent.events.pod(pod, Normal, "DeadlineExceeded", message);
        StartFailure { reason: "DeadlineExceeded".into(), message: message.into() }
    })
}

/// The next look at a pod with nothing to do: its deadline, or the regular one (which also refreshes volumes).
fn next_look(agent: &Agent, pod: &Pod) -> Duration {
    let regular = agent.config.sync_frequency.mul_f64(1.0 + component_base::rng::range(0..500) as f64 / 1000.0);
    match seconds_left(agent, pod) {
        Some(left) => regular.min(Duration::from_secs(u64::try_from(left).unwrap_or(0)) + Duration::from_millis(100)),
        None => regular,
    }
}

/// The next look after a pass that left something undone.
fn after_failures(agent: &Agent, pod: &Pod, view: &PodView, memory: &Memory) -> Duration {
    let mut next = next_look(agent, pod);
    for (name, failure) in &memory.failures {
        let container = pod.container(name).map(|(_, container)| container);
        let wait = match (failure.reason.as_str(), container) {
            ("CrashLoopBackOff", Some(container)) => {
                start::crash_delay(agent, pod, &container, view).unwrap_or_default()
            }
            _ => RETRY,
        };
        next = next.min(wait + Duration::from_millis(50));
    }
    next
}

async fn ensure_cgroup(agent: &Agent, pod: &Pod) -> Result<(), String> {
    if !agent.config.cgroups.per_qos {
        return Ok(());
    }
    let name = resources::cgroup_name(pod, &agent.config.cgroups);
    let limits = resources::pod_cgroup(pod, &agent.config.cgroups);
    agent.host.ensure_cgroup(&name, &limits).await.map_err(|error| {
        let message = format!(
            "failed to ensure that the pod: {} cgroups exist and are correctly applied: {error}",
            pod.pod_uid()
        );
        agent.events.pod(pod, Warning, "FailedToCreatePodContainer", &message);
        message
    })
}

/// Carries out what was decided.
async fn act(
    agent: &Agent,
    pod: &Arc<Pod>,
    view: &PodView,
    actions: &PodActions,
    volumes: &VolumePaths,
    memory: &mut Memory,
) -> Result<(), String> {
    if actions.kill_pod {
        if actions.create_sandbox && !view.sandboxes.is_empty() {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            agent.events.pod(pod, Normal, "SandboxChanged", message);
        }
        stop::whole_pod(agent, pod, view, None).await.map_err(|error| failed_kill(agent, pod, &error))?;
    }
    for kill in &actions.kill {
        if let Some(run) = view.containers.iter().find(|run| run.id == kill.id) {
            let killed = stop::container(agent, pod, run, &kill.message, Some(&kill.reason), None).await;
            killed.map_err(|error| failed_kill(agent, pod, &error))?;
        }
    }
    if actions.kill_pod && !actions.create_sandbox {
        return Ok(());
    }
    let attempt = match actions.create_sandbox {
        true => actions.attempt,
        false => view.sandboxes.first().map_or(0, |sandbox| sandbox.attempt),
    };
    let config = sandbox::config(&agent.config, pod, &agent.dns, attempt)?;
    let (id, ips) = match (&actions.sandbox, actions.create_sandbox) {
        (Some(id), false) => (id.clone(), view.ips()),
        _ => create_sandbox(agent, pod, &config).await?,
    };
    let ips = if pod.host_network() { agent.node.host_ips() } else { ips };
    // What ended meanwhile by our own hand must show in the restart counts.
    let fresh = view::read(agent.runtime.as_ref(), pod.pod_uid()).await.map_err(|error| error.to_string())?;
    let place = Place { pod, sandbox: &id, sandbox_config: &config, pod_ips: &ips, volumes, view: &fresh };
    start_all(agent, &place, actions, memory).await;
    Ok(())
}

fn failed_kill(agent: &Agent, pod: &Pod, error: &crate::runtime::RuntimeError) -> String {
    agent.events.pod(pod, Warning, "FailedKillPod", &format!("error killing pod: {error}"));
    error.to_string()
}

async fn create_sandbox(agent: &Agent, pod: &Pod, config: &PodSandboxConfig) -> Result<(String, Vec<String>), String> {
    let fail = |why: String| {
        agent.events.pod(pod, Warning, "FailedCreatePodSandBox", &format!("Failed to create pod sandbox: {why}"));
        why
    };
    agent.host.make_dir(Path::new(&config.log_directory), 0o755).await.map_err(|error| fail(error.to_string()))?;
    let handler = runtime_handler(agent, pod).await.map_err(fail)?;
    let created = agent.runtime.run_pod_sandbox(config.clone(), &handler).await;
    let id = created.map_err(|error| fail(error.to_string()))?;
    let status = agent.runtime.pod_sandbox_status(&id).await.map_err(|error| error.to_string())?;
    let network = status.network.unwrap_or_default();
    let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Ok((id, ips.filter(|ip| !ip.is_empty()).collect()))
}

/// The runtime handler that the pod's RuntimeClass names.
async fn runtime_handler(agent: &Agent, pod: &Pod) -> Result<String, String> {
    let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(String::new());
    };
    let client = agent
        .client
        .clone()
        .ok_or_else(|| format!("RuntimeClass {name:?}: this kubelet runs without an API server"))?;
    let classes: kube::Api<api_types::k8s_openapi::api::node::v1::RuntimeClass> = kube::Api::all(client);
    let class = classes.get(name).await.map_err(|error| crate::objects::ObjectError::from(error).to_string())?;
    Ok(class.handler)
}

async fn start_all(agent: &Agent, place: &Place<'_>, actions: &PodActions, memory: &mut Memory) {
    let pod = place.pod;
    for index in &actions.start_ephemeral {
        start_one(agent, place, &pod::as_container(&pod.ephemeral()[*index]), memory).await;
    }
    for index in &actions.start_init {
        let started = start_one(agent, place, &pod.init()[*index], memory).await;
        if !started && !pod::is_sidecar(&pod.init()[*index]) {
            return;
        }
    }
    for index in &actions.start_main {
        start_one(agent, place, &pod.main()[*index], memory).await;
    }
}

async fn start_one(agent: &Agent, place: &Place<'_>, container: &Container, memory: &mut Memory) -> bool {
    match start::container(agent, place, container).await {
        Ok(()) => {
            memory.failures.remove(&container.name);
            true
        }
        Err(failure) => {
            tracing::info!(pod = %place.pod.key(), container = %container.name, reason = %failure.reason, message = %failure.message, "container not started");
            memory.failures.insert(container.name.clone(), failure);
            false
        }
    }
}
