//! The phases of a run, in order: each is a number of requests, made from the number of the request alone.

use http::Method;
use serde_json::{Value, json};

use crate::connection::Call;

const NAMESPACE: &str = "bench";
/// Pods are spread over this many nodes and this many values of the label `group`.
const NODES: usize = 100;
const GROUPS: usize = 50;

const PODS: &str = "/api/v1/namespaces/bench/pods";

/// A kind of request.
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// How many requests, for that many pods in the store.
    pub(super) requests: fn(usize) -> usize,
    /// The `n`-th request.
    pub(super) call: fn(usize) -> Call,
}

/// Before the fan-out of watches.
pub(super) const FILL_AND_READ: &[Phase] = &[
    Phase { name: "create pod", requests: |pods| pods, call: |n| create(&pod_name(n), n) },
    Phase { name: "get pod", requests: |pods| pods, call: |n| Call::get(format!("{PODS}/{}", pod_name(n))) },
    Phase {
        name: "list all, resourceVersion=0",
        requests: |_| 60,
        call: |_| Call::get(format!("{PODS}?resourceVersion=0")),
    },
    Phase { name: "list all, consistent", requests: |_| 60, call: |_| Call::get(PODS) },
    Phase {
        name: "list pods of one node",
        requests: |_| 1_000,
        call: |n| Call::get(format!("{PODS}?fieldSelector=spec.nodeName%3Dnode-{}", n % NODES)),
    },
    Phase {
        name: "list pods of one label",
        requests: |_| 500,
        call: |n| Call::get(format!("{PODS}?labelSelector=group%3Dg-{}", n % GROUPS)),
    },
    Phase { name: "merge-patch pod status", requests: |pods| pods.min(10_000), call: patch_status },
];

/// After it.
pub(super) const EMPTY: &[Phase] = &[Phase { name: "delete pod", requests: |pods| pods.min(10_000), call: delete }];

pub(super) fn pod_name(n: usize) -> String {
    format!("pod-{n:06}")
}

pub(super) fn namespace() -> Call {
    post("/api/v1/namespaces".into(), &json!({"metadata": {"name": NAMESPACE}}))
}

pub(super) fn service_account() -> Call {
    post(format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), &json!({"metadata": {"name": "default"}}))
}

fn post(path: String, object: &Value) -> Call {
    Call { method: Method::POST, path, body: Some(("application/json", object.to_string().into_bytes())) }
}

/// A pod as a controller writes it, already on a node: 2 KB as it is stored, 3 KB of JSON, as large as those of upstream's measured baseline.
pub(super) fn create(name: &str, n: usize) -> Call {
    let env: Vec<Value> =
        (0..2).map(|i| json!({"name": format!("SETTING_{i}"), "value": format!("value of setting {i}")})).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app": "bench", "group": format!("g-{}", n % GROUPS), "pod-template-hash": "5d4f8c7b9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "bench-5d4f8c7b9", "uid": "6f1c8d2e-0000-4000-8000-000000000001", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "nodeName": format!("node-{}", n % NODES),
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "example.test/bench/server:1.2.3", "env": env,
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            }],
        },
    });
    post(PODS.into(), &pod)
}

fn patch_status(n: usize) -> Call {
    let patch = json!({"status": {"phase": "Running", "podIP": format!("10.244.{}.{}", n / 250 % 250, n % 250),
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let body = Some(("application/merge-patch+json", patch.to_string().into_bytes()));
    Call { method: Method::PATCH, path: format!("{PODS}/{}/status", pod_name(n)), body }
}

pub(super) fn delete(n: usize) -> Call {
    Call { method: Method::DELETE, path: format!("{PODS}/{}", pod_name(n)), body: None }
}

pub(super) fn list_as_informers_do() -> Call {
    Call::get("/api/v1/pods?resourceVersion=0")
}

/// A page of one pod: its metadata has the revision to watch from.
pub(super) fn newest() -> Call {
    Call::get(format!("{PODS}?limit=1"))
}

pub(super) fn watch(resource_version: &str) -> Call {
    Call::get(format!("{PODS}?watch=true&resourceVersion={resource_version}"))
}
