//! What several daemons ask about a pod's state.

use api_types::k8s_openapi::{
    api::core::v1::{Container, Pod},
    jiff::Timestamp,
};

use crate::conditions;

/// `namespace/name`.
#[must_use]
pub fn key(pod: &Pod) -> String {
    format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    )
}

/// The pod's phase, `""` before anybody set one.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

/// Whether the pod ended, well or badly: it never runs again.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts for its owner: neither ended nor being deleted.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// The name of the node that the pod is bound to.
#[must_use]
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The pod's priority, zero when none is set.
#[must_use]
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

/// Whether the pod's `Ready` condition holds.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    conditions::is_true(pod.status.as_ref().and_then(|s| s.conditions.as_ref()), "Ready")
}

/// Whether the pod has been ready for at least `min_ready_seconds`.
#[must_use]
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_in(pod, min_ready_seconds, now) == Some(0)
}

/// In how many seconds a ready pod becomes available (0: it is), or nothing where it is not ready.
#[must_use]
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<i64> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds <= 0 {
        return Some(0);
    }
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let since = conditions::find(conditions, "Ready").and_then(|c| c.last_transition_time.as_ref())?;
    let ready_for = now.as_second() - since.0.as_second();
    Some((i64::from(min_ready_seconds) - ready_for).max(0))
}

/// Whether the pod's containers share the node's network.
#[must_use]
pub fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

/// The pod's init containers, then its containers.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// Whether the kubelet made the pod from a file: it is no scheduler's and no controller's.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key("kubernetes.io/config.mirror"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn ready_since(second: i64) -> Pod {
        let mut pod = Pod::default();
        let mut condition = conditions::pod("Ready", true, "", "");
        condition.last_transition_time = Some(Time(Timestamp::from_second(second).expect("in range")));
        pod.status.get_or_insert_default().conditions = Some(vec![condition]);
        pod
    }

    #[test]
    fn available_after_the_minimum() {
        let now = Timestamp::from_second(100).expect("in range");
        let table = [
            (ready_since(95), 0, Some(0)),
            (ready_since(95), 10, Some(5)),
            (ready_since(90), 10, Some(0)),
            (Pod::default(), 0, None),
        ];
        for (pod, minimum, want) in table {
            assert_eq!(available_in(&pod, minimum, now), want);
            assert_eq!(is_available(&pod, minimum, now), want == Some(0));
        }
    }

    #[test]
    fn active_is_neither_ended_nor_deleted() {
        let mut pod = Pod::default();
        assert!(is_active(&pod));
        pod.status.get_or_insert_default().phase = Some("Failed".into());
        assert!(!is_active(&pod) && is_terminal(&pod));
        pod.status = None;
        pod.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(!is_active(&pod) && !is_terminal(&pod));
    }
}
