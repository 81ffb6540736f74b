//! Changes the resources of running containers in place (KEP-1287).
//!
//! What a container runs with is remembered by its id; what the spec says may differ. A change that fits on the node is applied:
//! first the pod's cgroup grows to hold old and new, then the containers change, then the cgroup takes its new size. A container
//! whose policy asks for it is restarted instead. What does not fit is reported as `PodResizePending`.

use super::admission;
use super::stop;
use crate::agent::Agent;
use crate::host::CgroupLimits;
use crate::pod::PodExt;
use crate::runtime::view::{ContainerView, PodView, State};
use crate::spec::resources;
use api_types::k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceRequirements};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use component_base::clock;
use controller_runtime::EventType::{Normal, Warning};
use std::collections::BTreeMap;

/// What each container runs with, by the runtime's id.
pub(crate) type Applied = BTreeMap<String, ResourceRequirements>;

/// Why a resize is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It will fit when others have gone.
    Deferred(String),
    /// It will never fit.
    Infeasible(String),
    /// It was tried.
    Failed(String),
}

impl Obstacle {
    /// The condition that tells of it.
    pub(crate) fn condition(&self, pod: &Pod, before: Option<&PodCondition>) -> PodCondition {
        let (type_, reason, message) = match self {
            Self::Deferred(why) => ("PodResizePending", "Deferred", why),
            Self::Infeasible(why) => ("PodResizePending", "Infeasible", why),
            Self::Failed(why) => ("PodResizeInProgress", "Error", why),
        };
        let since = before.filter(|old| old.type_ == type_).and_then(|old| old.last_transition_time.clone());
        PodCondition {
            type_: type_.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            message: Some(message.clone()),
            last_transition_time: since.or_else(|| Some(Time(clock::now()))),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }
    }
}

/// Notes what containers run with that were not seen before: what the API says of the same container, else the spec.
pub(super) fn observe(pod: &Pod, view: &PodView, applied: &mut Applied) {
    applied.retain(|id, _| view.containers.iter().any(|run| run.id == *id));
    for run in &view.containers {
        if applied.contains_key(&run.id) {
            continue;
        }
        let same = |id: &str| id.split_once("://").is_some_and(|(_, id)| id == run.id);
        let known = pod.known_status(&run.name).filter(|known| known.container_id.as_deref().is_some_and(same));
        let of_spec = || pod.container(&run.name).and_then(|(_, container)| container.resources);
        let resources = known.and_then(|known| known.resources.clone()).or_else(of_spec);
        applied.insert(run.id.clone(), resources.unwrap_or_default());
    }
}

/// A running container whose resources differ from its spec.
struct Change<'a> {
    container: &'a Container,
    run: &'a ContainerView,
    restart: bool,
}

fn part(resources: &ResourceRequirements, name: &str) -> [Option<i64>; 2] {
    let amount = |list: &Option<BTreeMap<String, _>>| {
        list.as_ref()
            .and_then(|list| list.get(name))
            .map(|quantity| component_helpers::resources::amount(name, quantity))
    };
    [amount(&resources.requests), amount(&resources.limits)]
}

fn changes<'a>(pod: &'a Pod, view: &'a PodView, applied: &Applied) -> Vec<Change<'a>> {
    let sidecars = pod.init().iter().filter(|container| crate::pod::is_sidecar(container));
    let mut out = Vec::new();
    for container in sidecars.chain(pod.main()) {
        let Some(run) = view.newest(&container.name).filter(|run| run.state == State::Running) else { continue };
        let (wanted, has) = (container.resources.clone().unwrap_or_default(), applied.get(&run.id));
        let differs = |name: &&str| has.is_some_and(|has| part(has, name) != part(&wanted, name));
        let differing: Vec<&str> = ["cpu", "memory"].into_iter().filter(|name| differs(name)).collect();
        if differing.is_empty() {
            continue;
        }
        let policy = container.resize_policy.iter().flatten();
        let restart = policy
            .filter(|policy| policy.restart_policy == "RestartContainer")
            .any(|policy| differing.contains(&policy.resource_name.as_str()));
        out.push(Change { container, run, restart });
    }
    out
}

/// Applies what the spec changed; none when there was nothing to do or all is done.
pub(super) async fn pod(agent: &Agent, pod: &Pod, view: &PodView, applied: &mut Applied) -> Option<Obstacle> {
    let changes = changes(pod, view, applied);
    if changes.is_empty() {
        return None;
    }
    if let Err(obstacle) = fits(agent, pod) {
        return Some(obstacle);
    }
    match apply(agent, pod, &changes, applied).await {
        Ok(()) => {
            agent.events.pod(pod, Normal, "ResizeCompleted", "Pod resize completed");
            None
        }
        Err(why) => {
            agent.events.pod(pod, Warning, "ResizeError", &why);
            Some(Obstacle::Failed(why))
        }
    }
}

fn fits(agent: &Agent, pod: &Pod) -> Result<(), Obstacle> {
    let allocatable = agent.node.allocatable();
    admission::fits(pod, &[], &allocatable).map_err(|no| Obstacle::Infeasible(no.message))?;
    let answer = agent.pods.admit(pod.pod_uid(), |others| admission::fits(pod, others, &allocatable));
    answer.map_err(|no| Obstacle::Deferred(no.message))
}

/// The larger of each limit; no limit is the largest.
fn union(a: &CgroupLimits, b: &CgroupLimits) -> CgroupLimits {
    let larger = |a: Option<i64>, b: Option<i64>| a.zip(b).map(|(a, b)| a.max(b));
    CgroupLimits {
        cpu_shares: a.cpu_shares.max(b.cpu_shares),
        cpu_quota: larger(a.cpu_quota, b.cpu_quota),
        cpu_period: a.cpu_period.or(b.cpu_period),
        memory: larger(a.memory, b.memory),
        pids: a.pids,
    }
}

async fn apply(agent: &Agent, pod: &Pod, changes: &[Change<'_>], applied: &mut Applied) -> Result<(), String> {
    let config = &agent.config.cgroups;
    let new = resources::pod_cgroup(pod, config);
    let name = resources::cgroup_name(pod, config);
    if config.per_qos {
        let old = resources::pod_cgroup(&as_it_was(pod, changes, applied), config);
        let grown = agent.host.ensure_cgroup(&name, &union(&old, &new)).await;
        grown.map_err(|error| format!("resize the pod's cgroup: {error}"))?;
    }
    for change in changes {
        if change.restart {
            let message = format!("Container {} resize requires restart", change.container.name);
            let stopped = stop::container(agent, pod, change.run, &message, None, None).await;
            stopped.map_err(|error| error.to_string())?;
            continue;
        }
        let machine = &agent.machine;
        let wanted = resources::container(pod, change.container, config, machine.memory, machine.cgroup_v2);
        let updated = agent.runtime.update_container_resources(&change.run.id, wanted).await;
        updated.map_err(|error| format!("resize container {:?}: {error}", change.container.name))?;
        applied.insert(change.run.id.clone(), change.container.resources.clone().unwrap_or_default());
    }
    if config.per_qos {
        let shrunk = agent.host.ensure_cgroup(&name, &new).await;
        shrunk.map_err(|error| format!("resize the pod's cgroup: {error}"))?;
    }
    Ok(())
}

/// The pod with the resources that its containers still run with.
fn as_it_was(pod: &Pod, changes: &[Change<'_>], applied: &Applied) -> Pod {
    let mut old = pod.clone();
    let Some(spec) = &mut old.spec else { return old };
    let lists = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in lists {
        if let Some(change) = changes.iter().find(|change| change.container.name == container.name) {
            container.resources = applied.get(&change.run.id).cloned();
        }
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_the_largest() {
        let limits =
            |memory, quota| CgroupLimits { memory, cpu_quota: quota, cpu_shares: Some(2), ..CgroupLimits::default() };
        let both = union(&limits(Some(1), Some(5)), &limits(Some(2), None));
        assert_eq!((both.memory, both.cpu_quota), (Some(2), None));
    }

    #[test]
    fn only_changed_resources_count() {
        let pod = |memory: &str, policy: &str| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": {"containers": [{"name": "c",
                "resources": {"limits": {"memory": memory, "cpu": "1000m"}},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]}}))
            .unwrap()
        };
        let mut run = crate::runtime::view::tests::run("c");
        run.id = "id".into();
        let view = PodView { sandboxes: Vec::new(), containers: vec![run] };
        let mut applied = Applied::new();
        observe(&pod("1Gi", "NotRequired"), &view, &mut applied);
        assert!(changes(&pod("1024Mi", "NotRequired"), &view, &applied).is_empty());
        let list =
            |policy: &str| changes(&pod("2Gi", policy), &view, &applied).iter().map(|c| c.restart).collect::<Vec<_>>();
        assert_eq!(list("NotRequired"), [false]);
        assert_eq!(list("RestartContainer"), [true]);
    }
}
