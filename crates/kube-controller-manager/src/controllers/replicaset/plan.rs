//! How many pods to create, which to delete, and what the status says. Pure.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use component_helpers::pods as helpers;
use kube::ResourceExt;

use crate::pods;

/// No more than this many pods are created or deleted in one reconcile.
const BURST: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What to do about the number of pods.
#[derive(Debug, Default)]
pub(crate) struct Scale {
    pub(crate) create: usize,
    pub(crate) delete: Vec<Arc<Pod>>,
}

/// Compares the active pods with the wanted number. `neighbours` tells how many related pods are on a node: of equal pods those on
/// crowded nodes go first.
pub(crate) fn scale(active: &[Arc<Pod>], desired: i32, neighbours: impl Fn(&str) -> usize, now: Timestamp) -> Scale {
    let desired = usize::try_from(desired).unwrap_or_default();
    if active.len() <= desired {
        return Scale { create: (desired - active.len()).min(BURST), delete: Vec::new() };
    }
    let excess = (active.len() - desired).min(BURST);
    let nodes: BTreeMap<_, _> =
        active.iter().filter_map(|pod| helpers::node_name(pod)).map(|node| (node, neighbours(node))).collect();
    let rank = |pod: &Pod| helpers::node_name(pod).and_then(|node| nodes.get(node)).copied().unwrap_or_default();
    let mut ranked = active.to_vec();
    ranked.sort_by(|a, b| deletion_order(a, b, rank(a), rank(b), now));
    ranked.truncate(excess);
    Scale { create: 0, delete: ranked }
}

/// Less = deleted first: what runs least, costs least, is most crowded, newest.
fn deletion_order(a: &Pod, b: &Pod, rank_a: usize, rank_b: usize, now: Timestamp) -> Ordering {
    let unassigned = |pod: &Pod| helpers::node_name(pod).is_some();
    let phase = |pod: &Pod| match helpers::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    unassigned(a)
        .cmp(&unassigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| helpers::is_ready(a).cmp(&helpers::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| age_class(ready_since(a), now).cmp(&age_class(ready_since(b), now)))
        .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
        .then_with(|| age_class(created(a), now).cmp(&age_class(created(b), now)))
        // Equally old on the logarithmic scale: by uid, which is as good as random but stable.
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    ready.last_transition_time.as_ref().map(|t| t.0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.creation_timestamp().map(|t| t.0)
}

/// The age on a logarithmic scale (upstream's LogarithmicScaleDown): no time counts as newest.
fn age_class(since: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(since) = since else { return -1 };
    let nanoseconds = now.duration_since(since).as_nanos().max(1);
    i32::try_from(nanoseconds.ilog2()).unwrap_or(i32::MAX)
}

/// The inputs of the status beside the pods.
pub(crate) struct Observed<'a> {
    pub(crate) status: &'a ReplicaSetStatus,
    pub(crate) generation: Option<i64>,
    pub(crate) desired: i32,
    pub(crate) min_ready_seconds: i32,
    pub(crate) template: Option<&'a PodTemplateSpec>,
    /// What went wrong while scaling.
    pub(crate) failure: Option<String>,
}

/// The status that the pods (`owned`: with terminating, without finished ones) show, and when it may change by time alone.
pub(crate) fn status(observed: &Observed<'_>, owned: &[Arc<Pod>], now: Timestamp) -> (ReplicaSetStatus, Option<i64>) {
    let active: Vec<_> = owned.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    let labels = observed.template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
    let labelled = |pod: &Pod| labels.is_none_or(|all| all.iter().all(|(k, v)| pod.labels().get(k) == Some(v)));
    let waits = |pod: &Pod| helpers::available_in(pod, observed.min_ready_seconds, now);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let some = |n: usize| (n > 0).then(|| count(n));
    let ready = active.iter().filter(|pod| helpers::is_ready(pod)).count();
    let available = active.iter().filter(|pod| helpers::is_available(pod, observed.min_ready_seconds, now)).count();
    let next = active.iter().filter_map(|pod| waits(pod)).filter(|seconds| *seconds > 0).min();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: some(active.iter().filter(|pod| labelled(pod)).count()),
        ready_replicas: some(ready),
        available_replicas: some(available),
        terminating_replicas: Some(count(owned.len() - active.len())),
        observed_generation: observed.generation,
        conditions: conditions(observed, active.len(), now),
    };
    (status, next)
}

fn conditions(observed: &Observed<'_>, active: usize, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = observed.status.conditions.clone().unwrap_or_default();
    let known = conditions.iter().any(|c| c.type_ == "ReplicaFailure");
    match &observed.failure {
        Some(message) if !known => {
            let missing = active < usize::try_from(observed.desired).unwrap_or_default();
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".to_owned(),
                status: "True".to_owned(),
                reason: Some(if missing { "FailedCreate" } else { "FailedDelete" }.to_owned()),
                message: Some(message.clone()),
                last_transition_time: Some(Time(now)),
            });
        }
        None if known => conditions.retain(|c| c.type_ != "ReplicaFailure"),
        _ => {}
    }
    (!conditions.is_empty()).then_some(conditions)
}
