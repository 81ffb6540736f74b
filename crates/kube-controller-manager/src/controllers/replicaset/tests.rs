//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{apps::v1::ReplicaSetStatus, core::v1::Pod},
    jiff::Timestamp,
};
use serde_json::json;

use super::plan::{self, Observed};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

/// A ready pod on a node, created at 09:00.
fn pod(name: &str, change: serde_json::Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T09:00:00Z"},
        "spec": {"containers": [], "nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T09:00:00Z"}]}
    });
    json_patch_merge(&mut pod, &change);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn json_patch_merge(into: &mut serde_json::Value, change: &serde_json::Value) {
    match (into, change) {
        (serde_json::Value::Object(into), serde_json::Value::Object(change)) => {
            for (key, value) in change {
                json_patch_merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

#[test]
fn creates_what_is_missing_in_bounds() {
    let one = [pod("a", json!({}))];
    for (active, desired, want) in
        [(&one[..0], 3, 3), (&one, 3, 2), (&one, 1, 0), (&one[..0], 2000, 500), (&one[..0], -1, 0)]
    {
        let scale = plan::scale(active, desired, |_| 0, now());
        assert_eq!((scale.create, scale.delete.len()), (want, 0), "{} of {desired}", active.len());
    }
}

#[test]
fn the_least_useful_pod_goes_first() {
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    for (better, worse, why) in [
        (json!({}), json!({"spec": {"nodeName": null}}), "unassigned"),
        (json!({}), json!({"status": {"phase": "Pending"}}), "pending"),
        (json!({}), not_ready, "not ready"),
        (
            json!({}),
            json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}}),
            "cheaper",
        ),
        (json!({}), json!({"spec": {"nodeName": "crowded"}}), "more related pods on its node"),
        (
            json!({}),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T09:59:00Z"}]}}),
            "ready for a shorter time",
        ),
        (
            json!({}),
            json!({"status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}}),
            "more restarts",
        ),
        (json!({}), json!({"metadata": {"creationTimestamp": "2026-01-01T09:59:50Z"}}), "newer"),
    ] {
        for order in [["worse", "better"], ["better", "worse"]] {
            let pods: Vec<_> =
                order.iter().map(|n| pod(n, if *n == "worse" { worse.clone() } else { better.clone() })).collect();
            let crowd = |node: &str| if node == "crowded" { 5 } else { 1 };
            let scale = plan::scale(&pods, 1, crowd, now());
            let names: Vec<_> = scale.delete.iter().map(|p| p.metadata.name.as_deref().unwrap()).collect();
            assert_eq!(names, ["worse"], "{why}");
        }
    }
}

#[test]
fn status_counts_and_conditions() {
    let pods = [
        pod("ready", json!({"metadata": {"labels": {"a": "b"}}})),
        pod(
            "fresh",
            json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T09:59:55Z"}]}}),
        ),
        pod("leaving", json!({"metadata": {"deletionTimestamp": "2026-01-01T09:59:55Z"}})),
    ];
    let template = serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    let mut observed = Observed {
        status: &ReplicaSetStatus::default(),
        generation: Some(2),
        desired: 3,
        min_ready_seconds: 10,
        template: Some(&template),
        failure: Some("quota".into()),
    };
    let (status, next) = plan::status(&observed, &pods, now());
    assert_eq!((status.replicas, status.fully_labeled_replicas, status.ready_replicas), (2, Some(1), Some(2)));
    assert_eq!((status.available_replicas, status.terminating_replicas, next), (Some(1), Some(1), Some(5)));
    let condition = &status.conditions.as_ref().unwrap()[0];
    assert_eq!((condition.type_.as_str(), condition.reason.as_deref()), ("ReplicaFailure", Some("FailedCreate")));
    observed.status = &status;
    observed.failure = None;
    assert_eq!(plan::status(&observed, &pods, now()).0.conditions, None);
}
