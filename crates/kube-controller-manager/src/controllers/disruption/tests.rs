//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde_json::json;

use super::plan::{self, Plan};

fn pod(n: usize, ready: bool) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("p{n}")},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
        }))
        .unwrap(),
    )
}

fn run(spec: serde_json::Value, status: serde_json::Value, pods: &[Arc<Pod>], scale: Option<i32>) -> Plan {
    let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
    let budget = serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap();
    plan::plan(&budget, pods, |_| scale.map(|n| ("c".to_owned(), n)), now)
}

#[test]
fn budgets() {
    let pods = [pod(1, true), pod(2, true), pod(3, false)];
    for (spec, want) in [
        (json!({"minAvailable": 1}), (3, 1, 2, 1)),
        (json!({"minAvailable": 3}), (3, 3, 2, 0)),
        (json!({"minAvailable": "50%"}), (4, 2, 2, 0)),
        (json!({"maxUnavailable": 1}), (4, 3, 2, 0)),
        (json!({"maxUnavailable": "50%"}), (4, 2, 2, 0)),
        (json!({"maxUnavailable": 3}), (4, 1, 2, 1)),
        (json!({}), (0, 0, 2, 0)),
    ] {
        let status = run(spec.clone(), json!({}), &pods, Some(4)).status;
        let got = [status.expected_pods, status.desired_healthy, status.current_healthy, status.disruptions_allowed];
        assert_eq!(got.map(Option::unwrap), [want.0, want.1, want.2, want.3], "{spec}");
    }
}

#[test]
fn unmanaged_pods_forbid_what_depends_on_a_scale() {
    let plan = run(json!({"maxUnavailable": 1}), json!({}), &[pod(1, true)], None);
    let condition = plan.status.conditions.unwrap().remove(0);
    assert_eq!((condition.reason.as_str(), plan.status.disruptions_allowed), ("SyncFailed", Some(0)));
    assert!(plan.failure.is_some());
    assert!(run(json!({"minAvailable": 1}), json!({}), &[pod(1, true)], None).failure.is_none());
}

#[test]
fn granted_evictions_count_until_they_time_out() {
    let pods = [pod(1, true), pod(2, true)];
    let granted = |at: &str| json!({"disruptedPods": {"p1": at, "gone": at}});
    let plan = run(json!({"minAvailable": 1}), granted("2026-01-01T09:59:00Z"), &pods, None);
    assert_eq!(
        (plan.status.current_healthy, plan.status.disruptions_allowed, plan.check_after),
        (Some(1), Some(0), Some(60))
    );
    assert_eq!(plan.status.disrupted_pods.unwrap().len(), 1);
    let plan = run(json!({"minAvailable": 1}), granted("2026-01-01T09:50:00Z"), &pods, None);
    assert_eq!((plan.status.disruptions_allowed, plan.status.disrupted_pods), (Some(1), None));
}
