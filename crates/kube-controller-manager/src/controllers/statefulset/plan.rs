//! The next step of a StatefulSet. Pure.
//!
//! With ordered management a step waits for the pod before: created, running, ready, available. Then condemned pods go from the
//! highest ordinal down, then the update goes from the highest ordinal down to the partition.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use component_helpers::pods as helpers;
use kube::ResourceExt;

use super::identity;
use crate::controllers::deployment::resolve;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Ordinals to create, and whether from the update revision (else the current one).
    pub(super) create: Vec<(i32, bool)>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Deleted because they ended, to be told.
    pub(super) recreated: Vec<String>,
    pub(super) status: StatefulSetStatus,
    /// When a pod becomes available by time alone, in seconds.
    pub(super) check_after: Option<i64>,
}

/// The names of the revisions.
pub(super) struct Revisions<'a> {
    pub(super) current: &'a str,
    pub(super) update: &'a str,
}

struct View<'a> {
    spec: &'a StatefulSetSpec,
    start: i32,
    /// By index from the first ordinal.
    slots: Vec<Option<Arc<Pod>>>,
    /// Beyond the wanted ordinals, highest first.
    condemned: Vec<Arc<Pod>>,
    ordered: bool,
    now: Timestamp,
}

/// Decides the next step.
pub(super) fn plan(set: &StatefulSet, pods: &[Arc<Pod>], revisions: &Revisions<'_>, now: Timestamp) -> Plan {
    let default = StatefulSetSpec::default();
    let view = View::new(set, set.spec.as_ref().unwrap_or(&default), pods, now);
    let mut plan = Plan { status: view.status(set, pods, revisions), ..Plan::default() };
    plan.check_after = pods.iter().filter_map(|pod| view.waits(pod)).filter(|seconds| *seconds > 0).min();
    if set.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if view.fill(&mut plan) && view.shrink(&mut plan) {
        view.update(revisions.update, &mut plan);
    }
    plan
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_running_and_ready(pod: &Pod) -> bool {
    helpers::phase(pod) == "Running" && helpers::is_ready(pod)
}

fn is_healthy(pod: &Pod) -> bool {
    is_running_and_ready(pod) && !is_leaving(pod)
}

impl<'a> View<'a> {
    fn new(set: &StatefulSet, spec: &'a StatefulSetSpec, pods: &[Arc<Pod>], now: Timestamp) -> Self {
        let start = spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or_default();
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
        let mut slots = vec![None; wanted];
        let mut condemned = BTreeMap::new();
        for pod in pods {
            let Some(ordinal) = identity::ordinal(&set.name_any(), &pod.name_any()) else { continue };
            let slot = usize::try_from(ordinal - start).ok().and_then(|index| slots.get_mut(index));
            match slot {
                Some(slot) => *slot = Some(pod.clone()),
                None => drop(condemned.insert(ordinal, pod.clone())),
            }
        }
        let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
        Self { spec, start, slots, condemned: condemned.into_values().rev().collect(), ordered, now }
    }

    fn waits(&self, pod: &Pod) -> Option<i64> {
        helpers::available_in(pod, self.spec.min_ready_seconds.unwrap_or_default(), self.now)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod) && self.waits(pod) == Some(0)
    }

    fn rolls(&self) -> bool {
        let type_ = self.spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
        type_.is_none_or(|type_| type_ == "RollingUpdate")
    }

    /// Pods below it stay at the current revision.
    fn partition(&self) -> usize {
        let rolling = self.spec.update_strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        usize::try_from(rolling.and_then(|r| r.partition).unwrap_or_default()).unwrap_or_default()
    }

    fn max_unavailable(&self) -> i32 {
        let rolling = self.spec.update_strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
        let total = self.spec.replicas.unwrap_or(1);
        rolling.and_then(|r| r.max_unavailable.as_ref()).map_or(1, |value| resolve(value, total, false).max(1))
    }

    /// Makes missing pods and replaces ended ones; true when nothing has to be waited for.
    fn fill(&self, plan: &mut Plan) -> bool {
        for (index, slot) in self.slots.iter().enumerate() {
            match slot {
                None => {
                    let ordinal = self.start + i32::try_from(index).unwrap_or(i32::MAX);
                    let from_update = !(self.rolls() && index < self.partition());
                    plan.create.push((ordinal, from_update));
                }
                Some(pod) if !is_leaving(pod) && helpers::is_terminal(pod) => {
                    plan.recreated.push(pod.name_any());
                    plan.delete.push(pod.clone());
                }
                Some(pod) if is_healthy(pod) && self.is_available(pod) => continue,
                Some(_) => {}
            }
            if self.ordered {
                return false;
            }
        }
        true
    }

    /// Deletes condemned pods; true when the update may go on.
    fn shrink(&self, plan: &mut Plan) -> bool {
        // The lowest unhealthy pod does not hold its own deletion up.
        let first_unhealthy = self.condemned.iter().rev().find(|pod| !is_healthy(pod)).and_then(|pod| pod.uid());
        for pod in &self.condemned {
            if is_leaving(pod) {
                if self.ordered {
                    return false;
                }
                continue;
            }
            if self.ordered && !is_running_and_ready(pod) && pod.uid() != first_unhealthy {
                return false;
            }
            plan.delete.push(pod.clone());
            if self.ordered {
                return false;
            }
        }
        true
    }

    fn update(&self, revision: &str, plan: &mut Plan) {
        if !self.rolls() {
            return;
        }
        let range = || self.slots.iter().skip(self.partition()).flatten();
        let outdated = |pod: &Pod| identity::revision(pod) != revision && !is_leaving(pod);
        let max = self.max_unavailable();
        if max == 1 {
            for pod in range().rev() {
                if outdated(pod) {
                    plan.delete.push(pod.clone());
                    return;
                }
                if !is_healthy(pod) || !self.is_available(pod) {
                    return;
                }
            }
            return;
        }
        let unavailable = range().filter(|pod| !is_healthy(pod) || !self.is_available(pod)).count();
        let room = usize::try_from(max).unwrap_or_default().saturating_sub(unavailable);
        plan.delete.extend(range().rev().filter(|pod| outdated(pod)).take(room).cloned());
    }

    fn status(&self, set: &StatefulSet, pods: &[Arc<Pod>], revisions: &Revisions<'_>) -> StatefulSetStatus {
        let known = set.status.clone().unwrap_or_default();
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let count = |of: &dyn Fn(&Pod) -> bool| number(pods.iter().filter(|pod| of(pod)).count());
        let some = |n: i32| (n > 0).then_some(n);
        let made_from = |revision: &str| count(&|pod| !is_leaving(pod) && identity::revision(pod) == revision);
        let (replicas, ready) = (number(pods.len()), count(&is_running_and_ready));
        let updated = made_from(revisions.update);
        let complete =
            self.rolls() && updated == replicas && ready == replicas && self.slots.iter().all(Option::is_some);
        let current = if complete { revisions.update } else { revisions.current };
        StatefulSetStatus {
            replicas,
            ready_replicas: some(ready),
            available_replicas: Some(count(&|pod| self.is_available(pod))),
            current_replicas: some(made_from(current)),
            updated_replicas: some(updated),
            current_revision: Some(current.to_owned()),
            update_revision: Some(revisions.update.to_owned()),
            observed_generation: set.metadata.generation,
            collision_count: Some(known.collision_count.unwrap_or_default()),
            conditions: known.conditions,
        }
    }
}
