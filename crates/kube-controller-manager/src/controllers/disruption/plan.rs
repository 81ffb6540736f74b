//! The status of a budget. Pure.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
    jiff::Timestamp,
};
use component_helpers::pods as helpers;
use kube::ResourceExt;

use crate::controllers::deployment::resolve;

/// An evicted pod that is still there after this was not evicted after all.
const DISRUPTION_TIMEOUT: i64 = 120;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) status: PodDisruptionBudgetStatus,
    /// Why the wanted number is unknown; then nothing may be disrupted.
    pub(super) failure: Option<String>,
    pub(super) check_after: Option<i64>,
}

/// Counts. `scale` tells the controller of a pod and how many pods it wants.
pub(super) fn plan(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: impl Fn(&Pod) -> Option<(String, i32)>,
    now: Timestamp,
) -> Plan {
    let default = PodDisruptionBudgetSpec::default();
    let spec = budget.spec.as_ref().unwrap_or(&default);
    let known = budget.status.clone().unwrap_or_default();
    let live: Vec<_> = pods.iter().filter(|pod| !helpers::is_terminal(pod)).collect();
    let (expected, desired, failure) = match wanted(spec, &live, scale) {
        Ok((expected, desired)) => (expected, desired, None),
        Err(why) => (known.expected_pods.unwrap_or_default(), known.desired_healthy.unwrap_or_default(), Some(why)),
    };
    let (disrupted, check_after) = disrupted(&known, &live, now);
    let healthy = |pod: &&&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(&pod.name_any()) && helpers::is_ready(pod)
    };
    let current = i32::try_from(live.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    let allowed = if failure.is_some() || expected <= 0 { 0 } else { (current - desired).max(0) };
    let status = PodDisruptionBudgetStatus {
        current_healthy: Some(current),
        desired_healthy: Some(desired),
        expected_pods: Some(expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: Some(vec![condition(&known, budget, allowed, failure.as_deref(), now)]),
    };
    Plan { status, failure, check_after }
}

/// Expected pods and how many of them have to be healthy.
fn wanted(
    spec: &PodDisruptionBudgetSpec,
    pods: &[&Arc<Pod>],
    scale: impl Fn(&Pod) -> Option<(String, i32)>,
) -> Result<(i32, i32), String> {
    let by_controllers = || {
        let mut scales = BTreeMap::new();
        for pod in pods {
            let of = scale(pod).ok_or_else(|| format!("found no controllers for pod {:?}", pod.name_any()))?;
            scales.insert(of.0, of.1);
        }
        Ok::<i32, String>(scales.values().sum())
    };
    if let Some(max) = &spec.max_unavailable {
        let expected = by_controllers()?;
        return Ok((expected, (expected - resolve(max, expected, true)).max(0)));
    }
    match &spec.min_available {
        Some(IntOrString::Int(number)) => Ok((i32::try_from(pods.len()).unwrap_or(i32::MAX), *number)),
        Some(percent) => {
            let expected = by_controllers()?;
            Ok((expected, resolve(percent, expected, true)))
        }
        None => Ok((0, 0)),
    }
}

/// Pods whose eviction was granted and that are not gone yet, and when to look again.
fn disrupted(
    known: &PodDisruptionBudgetStatus,
    pods: &[&Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<i64>) {
    let (mut left, mut next) = (BTreeMap::new(), None);
    for (name, at) in known.disrupted_pods.iter().flatten() {
        let there = pods.iter().any(|pod| pod.name_any() == *name && pod.metadata.deletion_timestamp.is_none());
        let remaining = at.0.as_second() + DISRUPTION_TIMEOUT - now.as_second();
        if there && remaining > 0 {
            left.insert(name.clone(), at.clone());
            next = Some(next.map_or(remaining, |other: i64| other.min(remaining)));
        }
    }
    (left, next)
}

fn condition(
    known: &PodDisruptionBudgetStatus,
    budget: &PodDisruptionBudget,
    allowed: i32,
    failure: Option<&str>,
    now: Timestamp,
) -> Condition {
    let (status, reason, message) = match failure {
        Some(why) => ("False", "SyncFailed", why),
        None if allowed > 0 => ("True", "SufficientPods", ""),
        None => ("False", "InsufficientPods", ""),
    };
    let before = known.conditions.iter().flatten().find(|c| c.type_ == "DisruptionAllowed" && c.status == status);
    Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: budget.metadata.generation,
        last_transition_time: before.map_or(Time(now), |c| c.last_transition_time.clone()),
    }
}
