//! Tables over the plan.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use super::plan::{self, World};

fn quota(names: &[&str], scopes: Value) -> ResourceQuota {
    let hard: BTreeMap<_, _> = names.iter().map(|name| (*name, "10")).collect();
    serde_json::from_value(json!({"metadata": {}, "spec": {"hard": hard, "scopes": scopes}})).unwrap()
}

fn pod(resources: Value, change: Value) -> Arc<Pod> {
    let mut spec = json!({"containers": [{"name": "c", "resources": resources}]});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    Arc::new(
        serde_json::from_value(json!({"metadata": {"namespace": "ns"}, "spec": spec, "status": {"phase": "Running"}}))
            .unwrap(),
    )
}

fn used(quota: &ResourceQuota, pods: &[Arc<Pod>]) -> Value {
    let service =
        |spec: Value| Arc::new(serde_json::from_value::<Service>(json!({"metadata": {}, "spec": spec})).unwrap());
    let claim = |class: &str| {
        Arc::new(
            serde_json::from_value::<PersistentVolumeClaim>(json!({"metadata": {}, "spec":
                {"storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}}))
            .unwrap(),
        )
    };
    let world = World {
        pods,
        services: &[
            service(json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]})),
            service(json!({"type": "LoadBalancer"})),
        ],
        claims: &[claim("fast"), claim("slow")],
        counts: &BTreeMap::from([("secrets".to_owned(), 3), ("deployments.apps".to_owned(), 2)]),
        now: Timestamp::UNIX_EPOCH,
    };
    json!(plan::used(quota, &world))
}

#[test]
fn pods_are_summed() {
    let pods = [
        pod(
            json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "nvidia.com/gpu": "2"}}),
            json!({}),
        ),
        pod(json!({"requests": {"cpu": "1500m", "memory": "512Mi", "nvidia.com/gpu": "1"}}), json!({})),
    ];
    let names = ["pods", "cpu", "requests.memory", "limits.cpu", "requests.nvidia.com/gpu", "unknown"];
    assert_eq!(
        used(&quota(&names, json!([])), &pods),
        json!({"pods": "2", "cpu": "2", "requests.memory": "1536Mi", "limits.cpu": "1", "requests.nvidia.com/gpu": "1", "unknown": "0"})
    );
    let mut done = pods[0].as_ref().clone();
    done.status.as_mut().unwrap().phase = Some("Succeeded".into());
    assert_eq!(used(&quota(&["pods"], json!([])), &[Arc::new(done)]), json!({"pods": "0"}));
}

#[test]
fn objects_are_counted() {
    let names = [
        "services",
        "services.nodeports",
        "services.loadbalancers",
        "requests.storage",
        "secrets",
        "fast.storageclass.storage.k8s.io/requests.storage",
        "slow.storageclass.storage.k8s.io/persistentvolumeclaims",
        "count/deployments.apps",
    ];
    assert_eq!(
        used(&quota(&names, json!([])), &[]),
        json!({"services": "2", "services.nodeports": "2", "services.loadbalancers": "1", "requests.storage": "2Gi", "secrets": "3",
            "fast.storageclass.storage.k8s.io/requests.storage": "1Gi", "slow.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "count/deployments.apps": "2"})
    );
    assert_eq!(plan::counted("count/deployments.apps"), Some("deployments.apps"));
    assert_eq!(
        (plan::counted("count/pods"), plan::counted("cpu"), plan::counted("secrets")),
        (None, None, Some("secrets"))
    );
}

#[test]
fn scopes_select_pods() {
    let plain = pod(json!({}), json!({}));
    let short =
        pod(json!({"requests": {"cpu": "1"}}), json!({"activeDeadlineSeconds": 5, "priorityClassName": "high"}));
    let pods = [plain, short];
    for (scope, want) in [
        ("Terminating", "1"),
        ("NotTerminating", "1"),
        ("BestEffort", "1"),
        ("NotBestEffort", "1"),
        ("PriorityClass", "1"),
        ("CrossNamespacePodAffinity", "0"),
    ] {
        assert_eq!(used(&quota(&["pods"], json!([scope])), &pods), json!({"pods": want}), "{scope}");
    }
    assert_eq!(used(&quota(&["pods"], json!(["Terminating", "BestEffort"])), &pods), json!({"pods": "0"}));
}

#[test]
fn the_same_amount_written_otherwise_is_no_change() {
    let list = |text: &str| serde_json::from_value(json!({"cpu": text})).unwrap();
    assert!(plan::same(Some(&list("1000m")), &list("1")));
    assert!(!plan::same(Some(&list("2")), &list("1")) && !plan::same(None, &list("1")));
}
