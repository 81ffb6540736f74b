//! Pods are deleted gracefully: the kubelet stops the containers and then deletes the object with grace period 0.

use apiserver::model::Behaviour;
use serde_json::Value;

/// Upstream's default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: i64 = 30;

pub(super) struct Pods;

impl Behaviour for Pods {
    fn grace_period(&self, pod: &Value, requested: Option<i64>) -> Option<i64> {
        let spec = pod.get("spec");
        let text = |path: &str| apiserver::meta::path_text(pod, path);
        let own = spec.and_then(|s| s.get("terminationGracePeriodSeconds")).and_then(Value::as_i64);
        let mut period = requested.or(own).unwrap_or(DEFAULT_GRACE);
        // Nothing runs: nobody needs to stop it.
        if text("spec.nodeName").is_empty() || matches!(text("status.phase").as_str(), "Succeeded" | "Failed") {
            period = 0;
        }
        Some(if period < 0 { 1 } else { period })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_running_pods_get_grace() {
        let bound = json!({ "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 5 }, "status": { "phase": "Running" } });
        assert_eq!(Pods.grace_period(&bound, None), Some(5));
        assert_eq!(Pods.grace_period(&bound, Some(60)), Some(60));
        assert_eq!(Pods.grace_period(&bound, Some(-3)), Some(1));
        let pending = json!({ "spec": {}, "status": { "phase": "Pending" } });
        assert_eq!(Pods.grace_period(&pending, None), Some(0));
        let done = json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Failed" } });
        assert_eq!(Pods.grace_period(&done, Some(30)), Some(0));
    }
}
