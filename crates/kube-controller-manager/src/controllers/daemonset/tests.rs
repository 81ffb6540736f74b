//! Tables over placement and plan.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::json;

use super::{
    placement::{self, Fit},
    plan::{self, View},
    status,
};

fn now() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn set(spec: serde_json::Value, strategy: serde_json::Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": {"name": "ds", "namespace": "ns", "uid": "ds", "generation": 2},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "updateStrategy": strategy,
                 "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}}
    }))
    .unwrap()
}

fn plain() -> DaemonSet {
    set(json!({"containers": []}), json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}))
}

fn node(name: &str, taints: serde_json::Value) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": {"taints": taints}}),
        )
        .unwrap(),
    )
}

fn nodes(names: &[&str]) -> Vec<Arc<Node>> {
    names.iter().map(|name| node(name, json!([]))).collect()
}

fn pod(set: &DaemonSet, name: &str, node: &str, hash: &str, phase: &str, ready: bool) -> Arc<Pod> {
    let mut pod = placement::pod(set, node, hash).unwrap();
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(name.into());
    pod.status = Some(
        serde_json::from_value(json!({"phase": phase, "conditions": [{"type": "Ready",
            "status": if ready { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T09:00:00Z"}]}))
        .unwrap(),
    );
    Arc::new(pod)
}

fn names(pods: &[Arc<Pod>]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

fn run(set: &DaemonSet, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let plan = plan::plan(&View::new(set, nodes, pods, "new", now()));
    (plan.create, names(&plan.delete), names(&plan.finished))
}

#[test]
fn placement_follows_names_affinity_and_taints() {
    let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
    let fit = |run, stay| Fit { run, stay };
    for (spec, taints, want) in [
        (json!({"containers": []}), json!([]), fit(true, true)),
        (json!({"containers": [], "nodeName": "other"}), json!([]), fit(false, false)),
        (json!({"containers": [], "nodeSelector": {"disk": "n"}}), json!([]), fit(true, true)),
        (json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), json!([]), fit(false, false)),
        (json!({"containers": []}), taint("x", "NoSchedule"), fit(false, true)),
        (json!({"containers": []}), taint("x", "NoExecute"), fit(false, false)),
        (json!({"containers": [], "tolerations": [{"operator": "Exists"}]}), taint("x", "NoExecute"), fit(true, true)),
        (json!({"containers": []}), taint("node.kubernetes.io/unreachable", "NoExecute"), fit(true, true)),
        (json!({"containers": []}), taint("node.kubernetes.io/network-unavailable", "NoSchedule"), fit(false, true)),
        (
            json!({"containers": [], "hostNetwork": true}),
            taint("node.kubernetes.io/network-unavailable", "NoSchedule"),
            fit(true, true),
        ),
    ] {
        assert_eq!(placement::fit(&set(spec.clone(), json!({})), &node("n", taints.clone())), want, "{spec} {taints}");
    }
}

#[test]
fn a_pod_is_pinned_to_its_node_whatever_its_template_prefers() {
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}});
    for spec in [json!({"containers": []}), json!({"containers": [], "affinity": affinity})] {
        let pod = placement::pod(&set(spec, json!({})), "n1", "h").unwrap();
        assert_eq!(placement::target(&pod).as_deref(), Some("n1"));
        assert_eq!(pod.labels()["controller-revision-hash"], "h");
        assert!(pod.spec.unwrap().tolerations.unwrap().len() >= 6);
    }
}

#[test]
fn each_node_gets_one_pod() {
    let set = plain();
    let none: Vec<String> = vec![];
    assert_eq!(
        run(&set, &nodes(&["n1", "n2"]), &[pod(&set, "p1", "n1", "new", "Running", true)]),
        (vec!["n2".into()], none.clone(), none.clone())
    );
    let two = [pod(&set, "p1", "n1", "new", "Running", true), pod(&set, "p2", "n1", "new", "Running", true)];
    assert_eq!(run(&set, &nodes(&["n1"]), &two), (none.clone(), vec!["p2".into()], none.clone()));
    let failed = [pod(&set, "p1", "n1", "new", "Failed", false)];
    assert_eq!(run(&set, &nodes(&["n1"]), &failed), (none.clone(), none.clone(), vec!["p1".into()]));
    assert_eq!(
        run(&set, &[], &two[..1]),
        (none.clone(), vec!["p1".into()], none.clone()),
        "made for a node that is gone"
    );
    let tainted = [node("n1", json!([{"key": "x", "effect": "NoExecute"}]))];
    assert_eq!(run(&set, &tainted, &two[..1]), (none.clone(), vec!["p1".into()], none));
}

#[test]
fn rolling_updates_keep_to_the_unavailable_ones() {
    let set = plain();
    let all = nodes(&["n1", "n2", "n3"]);
    let old = |name: &str, node: &str, ready| pod(&set, name, node, "old", "Running", ready);
    let new = |name: &str, node: &str, ready| pod(&set, name, node, "new", "Running", ready);
    let deleted = |pods: &[Arc<Pod>]| run(&set, &all, pods).1;
    assert_eq!(deleted(&[old("p1", "n1", true), old("p2", "n2", true), old("p3", "n3", true)]), ["p1"]);
    assert_eq!(deleted(&[new("p1", "n1", false), old("p2", "n2", true), old("p3", "n3", true)]), [""; 0]);
    assert_eq!(deleted(&[new("p1", "n1", true), old("p2", "n2", true), old("p3", "n3", true)]), ["p2"]);
    assert_eq!(
        deleted(&[new("p1", "n1", false), old("p2", "n2", false), old("p3", "n3", true)]),
        ["p2"],
        "serves nobody"
    );
    let on_delete = self::set(json!({"containers": []}), json!({"type": "OnDelete"}));
    assert!(run(&on_delete, &all, &[old("p1", "n1", true), old("p2", "n2", true), old("p3", "n3", true)]).1.is_empty());
}

#[test]
fn surging_starts_the_new_before_the_old_ends() {
    let set = set(
        json!({"containers": []}),
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
    );
    let all = nodes(&["n1", "n2"]);
    let old = |name: &str, node: &str| pod(&set, name, node, "old", "Running", true);
    let new = |name: &str, node: &str, ready| pod(&set, name, node, "new", "Running", ready);
    let none: Vec<String> = vec![];
    assert_eq!(run(&set, &all, &[old("p1", "n1"), old("p2", "n2")]), (vec!["n1".into()], none.clone(), none.clone()));
    assert_eq!(
        run(&set, &all, &[old("p1", "n1"), new("q1", "n1", false), old("p2", "n2")]),
        (none.clone(), none.clone(), none.clone())
    );
    assert_eq!(
        run(&set, &all, &[old("p1", "n1"), new("q1", "n1", true), old("p2", "n2")]),
        (none.clone(), vec!["p1".into()], none)
    );
}

#[test]
fn status_counts_nodes() {
    let set = plain();
    let all = [node("n1", json!([])), node("n2", json!([])), node("n3", json!([{"key": "x", "effect": "NoSchedule"}]))];
    let pods = [
        pod(&set, "p1", "n1", "new", "Running", true),
        pod(&set, "p2", "n2", "old", "Running", false),
        pod(&set, "p3", "n3", "old", "Running", true),
    ];
    let (status, _) = status::status(&View::new(&set, &all, &pods, "new", now()));
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled),
        (2, 2, 1)
    );
    assert_eq!((status.number_ready, status.number_available, status.number_unavailable), (1, Some(1), Some(1)));
    assert_eq!((status.updated_number_scheduled, status.observed_generation), (Some(1), Some(2)));
}
