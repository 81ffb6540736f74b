//! Whether and when a pod has to leave its node. Pure.

use api_types::k8s_openapi::{
    api::core::v1::{Pod, Taint},
    jiff::Timestamp,
};
use component_helpers::{conditions, pods as helpers, taints};

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::controllers) enum Verdict {
    Stay,
    /// To be looked at again, in seconds.
    Later(u64),
    Evict,
}

/// Looks at the NoExecute taints of a pod's node. The time that a pod tolerates counts from the newest taint, or from when the pod
/// came, so that a restart of this process changes nothing.
pub(super) fn verdict(pod: &Pod, all: &[Taint], now: Timestamp) -> Verdict {
    let executing: Vec<_> = all.iter().filter(|taint| taint.effect == taints::NO_EXECUTE).collect();
    if executing.is_empty() || pod.metadata.deletion_timestamp.is_some() || helpers::is_terminal(pod) {
        return Verdict::Stay;
    }
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in &executing {
        let tolerating: Vec<_> = tolerations.iter().filter(|t| taints::tolerates(t, taint)).collect();
        if tolerating.is_empty() {
            return Verdict::Evict;
        }
        let seconds = tolerating.iter().filter_map(|t| t.toleration_seconds).min();
        shortest = [shortest, seconds].into_iter().flatten().min();
    }
    let Some(seconds) = shortest else { return Verdict::Stay };
    let tainted = executing.iter().filter_map(|taint| taint.time_added.as_ref()).map(|t| t.0).max();
    let start = [tainted, arrived(pod)].into_iter().flatten().max().unwrap_or(now);
    let left = seconds.max(0) - (now.as_second() - start.as_second());
    match u64::try_from(left) {
        Ok(left) if left > 0 => Verdict::Later(left),
        _ => Verdict::Evict,
    }
}

fn arrived(pod: &Pod) -> Option<Timestamp> {
    let scheduled = conditions::find(pod.status.as_ref().and_then(|s| s.conditions.as_ref()), "PodScheduled");
    let scheduled = scheduled.and_then(|c| c.last_transition_time.as_ref());
    scheduled.or(pod.metadata.creation_timestamp.as_ref()).map(|t| t.0)
}
