//! Counts of a DaemonSet.

use api_types::k8s_openapi::api::apps::v1::DaemonSetStatus;
use component_helpers::pods as helpers;

use super::{placement, plan::View};

/// The status, and in how many seconds it may change by time alone.
pub(super) fn status(view: &View<'_>) -> (DaemonSetStatus, Option<i64>) {
    let current = view.set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: view.set.metadata.generation,
        collision_count: current.collision_count,
        conditions: current.conditions,
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available, mut next) = (0, 0, None);
    for node in view.nodes {
        let pods = view.pods_on(node);
        if !placement::fit(view.set, node).run {
            status.number_misscheduled += i32::from(!pods.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        status.current_number_scheduled += i32::from(!pods.is_empty());
        let staying = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        status.number_ready += i32::from(staying().any(|pod| helpers::is_ready(pod)));
        available += i32::from(staying().any(|pod| view.is_available(pod)));
        updated += i32::from(staying().any(|pod| view.is_new(pod)));
        let waits = staying().filter_map(|pod| helpers::available_in(pod, view.min_ready_seconds(), view.now));
        next = waits.filter(|seconds| *seconds > 0).chain(next).min();
    }
    let some = |n: i32| (n > 0).then_some(n);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    (status, next)
}
