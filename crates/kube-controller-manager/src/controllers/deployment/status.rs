//! Counts and conditions of a Deployment.

use api_types::k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::plan::{Rollout, available, replicas};

const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
/// A deadline that is no deadline (upstream's default for old API versions).
const NO_DEADLINE: i32 = i32::MAX;

pub(super) struct Next {
    pub(super) status: DeploymentStatus,
    pub(super) check_after: Option<i64>,
}

/// The status after a step. `created` is the index of a ReplicaSet that is about to be created.
pub(super) fn next(rollout: &Rollout<'_>, created: Option<usize>) -> Next {
    let old = rollout.deployment.status.clone().unwrap_or_default();
    let mut status = counted(rollout, &old);
    let mut conditions = old.conditions.clone().unwrap_or_default();
    set(&mut conditions, availability(rollout, &status), rollout.now);
    if rollout.deployment.metadata.deletion_timestamp.is_none() {
        progress(rollout, &old, &status, &mut conditions, created);
        failure(rollout, &mut conditions);
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    let check_after = deadline_check(rollout, &status);
    Next { status, check_after }
}

fn counted(rollout: &Rollout<'_>, old: &DeploymentStatus) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| rollout.sets.iter().map(of).sum::<i32>();
    let some = |n: i32| (n > 0).then_some(n);
    let seen = |set: &ReplicaSet| set.status.as_ref().map_or(0, |s| s.replicas);
    let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or_default();
    let terminating = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or_default();
    let all_available = sum(&available);
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: some(sum(&seen)),
        updated_replicas: some(rollout.new.map_or(0, |i| seen(&rollout.sets[i]))),
        ready_replicas: some(sum(&ready)),
        available_replicas: some(all_available),
        unavailable_replicas: some(sum(&replicas) - all_available),
        terminating_replicas: Some(sum(&terminating)),
        collision_count: old.collision_count,
        conditions: None,
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        ..DeploymentCondition::default()
    }
}

/// Sets a condition; nothing changes when status and reason stay.
fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition, now: Timestamp) {
    let known = conditions.iter().position(|c| c.type_ == new.type_);
    new.last_update_time = Some(Time(now));
    new.last_transition_time = Some(Time(now));
    let Some(index) = known else { return conditions.push(new) };
    let old = &conditions[index];
    if old.status == new.status && old.reason == new.reason {
        return;
    }
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time.clone();
    }
    conditions.remove(index);
    conditions.push(new);
}

fn availability(rollout: &Rollout<'_>, status: &DeploymentStatus) -> DeploymentCondition {
    if status.available_replicas.unwrap_or_default() >= rollout.desired() - rollout.max_unavailable() {
        let message = "Deployment has minimum availability.".to_owned();
        condition("Available", "True", "MinimumReplicasAvailable", message)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition("Available", "False", "MinimumReplicasUnavailable", message)
    }
}

fn find<'a>(conditions: &'a [DeploymentCondition], type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|c| c.type_ == type_)
}

fn reason_of(conditions: &[DeploymentCondition]) -> Option<&str> {
    find(conditions, PROGRESSING).and_then(|c| c.reason.as_deref())
}

fn has_deadline(rollout: &Rollout<'_>) -> bool {
    rollout.spec.progress_deadline_seconds.is_some_and(|d| d != NO_DEADLINE)
}

fn progress(
    rollout: &Rollout<'_>,
    old: &DeploymentStatus,
    status: &DeploymentStatus,
    conditions: &mut Vec<DeploymentCondition>,
    created: Option<usize>,
) {
    if !has_deadline(rollout) {
        return conditions.retain(|c| c.type_ != PROGRESSING);
    }
    let now = rollout.now;
    if let Some(index) = created {
        let message = format!("Created new replica set \"{}\"", rollout.sets[index].name_any());
        return set(conditions, condition(PROGRESSING, "True", "NewReplicaSetCreated", message), now);
    }
    if paused_or_resumed(rollout, conditions) {
        return;
    }
    if let (None, Some(index)) = (find(conditions, PROGRESSING), rollout.new) {
        let message = format!("Found new replica set \"{}\"", rollout.sets[index].name_any());
        set(conditions, condition(PROGRESSING, "True", "FoundNewReplicaSet", message), now);
    }
    let settled = status.replicas == status.updated_replicas && reason_of(conditions) == Some(NEW_AVAILABLE);
    if settled {
        return;
    }
    let who = match rollout.new {
        Some(index) => format!("ReplicaSet \"{}\"", rollout.sets[index].name_any()),
        None => format!("Deployment \"{}\"", rollout.deployment.name_any()),
    };
    if is_complete(rollout.deployment, status) {
        let message = format!("{who} has successfully progressed.");
        set(conditions, condition(PROGRESSING, "True", NEW_AVAILABLE, message), now);
    } else if is_progressing(old, status) {
        updated(conditions, condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{who} is progressing.")), now);
    } else if is_timed_out(rollout, conditions) {
        set(conditions, condition(PROGRESSING, "False", TIMED_OUT, format!("{who} has timed out progressing.")), now);
    }
}

/// Each progress moves the update time, so that the deadline counts from the last one.
fn updated(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition, now: Timestamp) {
    let old = find(conditions, PROGRESSING);
    let kept = old.filter(|c| c.status == "True").and_then(|c| c.last_transition_time.clone());
    new.last_update_time = Some(Time(now));
    new.last_transition_time = kept.or(Some(Time(now)));
    conditions.retain(|c| c.type_ != PROGRESSING);
    conditions.push(new);
}

/// The condition of a paused deployment, whose deadline does not run, and of one just resumed.
fn paused_or_resumed(rollout: &Rollout<'_>, conditions: &mut Vec<DeploymentCondition>) -> bool {
    let paused = rollout.spec.paused == Some(true);
    let reason = reason_of(conditions).map(str::to_owned);
    let reason = reason.as_deref();
    if reason == Some(TIMED_OUT) {
        return paused;
    }
    if paused {
        if reason != Some("DeploymentPaused") {
            let message = "Deployment is paused".to_owned();
            set(conditions, condition(PROGRESSING, "Unknown", "DeploymentPaused", message), rollout.now);
        }
        return true;
    }
    if reason == Some("DeploymentPaused") {
        let message = "Deployment is resumed".to_owned();
        set(conditions, condition(PROGRESSING, "Unknown", "DeploymentResumed", message), rollout.now);
    }
    false
}

/// Whether all pods are new, wanted and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let all = |n: Option<i32>| n.unwrap_or_default() == desired;
    all(status.updated_replicas) && all(status.replicas) && all(status.available_replicas)
}

fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |value: Option<i32>| value.unwrap_or_default();
    let old_left = n(old.replicas) - n(old.updated_replicas);
    let new_left = n(new.replicas) - n(new.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || new_left < old_left
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn is_timed_out(rollout: &Rollout<'_>, conditions: &[DeploymentCondition]) -> bool {
    let Some(progressing) = find(conditions, PROGRESSING) else { return false };
    match progressing.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(rollout, progressing).is_some_and(|left| left < 0),
    }
}

/// Seconds until the deadline.
fn deadline(rollout: &Rollout<'_>, progressing: &DeploymentCondition) -> Option<i64> {
    let since = progressing.last_update_time.as_ref()?.0.as_second();
    let allowed = i64::from(rollout.spec.progress_deadline_seconds?);
    Some(since + allowed - rollout.now.as_second())
}

fn failure(rollout: &Rollout<'_>, conditions: &mut Vec<DeploymentCondition>) {
    let failed = |set: &ReplicaSet| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|c| c.type_ == FAILURE && c.status == "True").cloned()
    };
    let newest_first = rollout.new.into_iter().chain(rollout.old()).map(|i| &rollout.sets[i]);
    match newest_first.into_iter().find_map(failed) {
        Some(c) => {
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            set(conditions, condition(FAILURE, "True", &reason, message), rollout.now);
        }
        None => conditions.retain(|c| c.type_ != FAILURE),
    }
}

/// When a roll-out that does not move has to be looked at again: nothing else would report the passing of its deadline.
fn deadline_check(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Option<i64> {
    if !has_deadline(rollout) || rollout.spec.paused == Some(true) || is_complete(rollout.deployment, status) {
        return None;
    }
    let progressing = find(status.conditions.as_deref()?, PROGRESSING)?;
    if matches!(progressing.reason.as_deref(), Some(TIMED_OUT | NEW_AVAILABLE)) {
        return None;
    }
    deadline(rollout, progressing).map(|left| left.max(0) + 1)
}
