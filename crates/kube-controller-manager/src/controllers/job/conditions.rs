//! Conditions of a Job.

use api_types::k8s_openapi::{
    api::batch::v1::{JobCondition, JobStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
pub(super) const SUSPENDED: &str = "Suspended";

/// The condition of that type that is true.
pub(super) fn find<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == "True")
}

/// Whether the job is over.
pub(crate) fn is_finished(status: &JobStatus) -> bool {
    find(status, COMPLETE).or_else(|| find(status, FAILED)).is_some()
}

/// Sets a condition; false when it already had this status.
pub(super) fn set(status: &mut JobStatus, type_: &str, on: bool, reason: &str, message: &str, now: Timestamp) -> bool {
    let value = if on { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter_mut().find(|c| c.type_ == type_);
    let new = JobCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    match known {
        Some(known) if known.status == value => false,
        Some(known) => {
            *known = new;
            true
        }
        None if !on => false,
        None => {
            conditions.push(new);
            true
        }
    }
}
