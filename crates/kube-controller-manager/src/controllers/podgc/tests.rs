//! Tables over the plan.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::Pod,
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use serde_json::json;

use super::plan;

fn pod(name: &str, node: Option<&str>, phase: &str, deleting: bool) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "deletionTimestamp": deleting.then_some("2026-01-01T00:00:00Z"),
                         "creationTimestamp": format!("2026-01-01T00:00:0{}Z", &name[1..])},
            "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase}
        }))
        .unwrap(),
    )
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

#[test]
fn a_node_must_be_missing_for_a_while() {
    let pods = [pod("p1", Some("here"), "Running", false), pod("p2", Some("gone"), "Running", false)];
    let (mut missing, now) = (BTreeMap::new(), Timestamp::UNIX_EPOCH);
    let later = now + SignedDuration::from_secs(40);
    let known = |name: &str| name == "here";
    assert!(plan::gone_nodes(&pods, known, &mut missing, now).is_empty());
    assert_eq!(plan::gone_nodes(&pods, known, &mut missing, later), ["gone"]);
    assert!(plan::gone_nodes(&pods, |_| true, &mut missing, later).is_empty());
    assert!(plan::gone_nodes(&pods, known, &mut missing, later).is_empty(), "counted anew");
}

#[test]
fn the_oldest_terminated_go() {
    let pods =
        [pod("p3", None, "Failed", false), pod("p1", None, "Succeeded", false), pod("p2", None, "Running", false)];
    assert_eq!(names(&plan::terminated(&pods, 1)), ["p1"]);
    assert!(plan::terminated(&pods, 0).is_empty() && plan::terminated(&pods, 2).is_empty());
}

#[test]
fn deleted_pods_without_a_kubelet_go() {
    let pods =
        [pod("p1", None, "Pending", true), pod("p2", None, "Pending", false), pod("p3", Some("n"), "Running", true)];
    assert_eq!(names(&plan::unscheduled_terminating(&pods)), ["p1"]);
    let node = |taints: serde_json::Value| {
        move |_: &str| {
            Some(Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap()))
        }
    };
    let marked = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    assert_eq!(names(&plan::out_of_service(&pods, node(marked))), ["p3"]);
    assert!(plan::out_of_service(&pods, node(json!([]))).is_empty());
}
