use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::*;

fn node(name: &str, zone: &str) -> Arc<Node> {
    let node = json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}, "images": [{"names": ["a:v1"], "sizeBytes": 5}]}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, node: Option<&str>) -> Arc<PodInfo> {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}}))
    .unwrap();
    Arc::new(PodInfo::new(Arc::new(pod)))
}

fn cpu(cache: &Cache, node: &str) -> i64 {
    cache.snapshot.node(node).map_or(-1, |n| n.requested.milli_cpu)
}

#[test]
fn assume_confirm_and_forget() {
    let mut cache = Cache::default();
    cache.set_node(node("n1", "a"));
    cache.set_node(node("n2", "a"));
    cache.assume(pod("p", None), "n1");
    assert_eq!((cpu(&cache, "n1"), cpu(&cache, "n2")), (500, 0));
    assert!(cache.is_assumed("d/p"));
    cache.set_pod(pod("p", Some("n2")));
    assert_eq!((cpu(&cache, "n1"), cpu(&cache, "n2")), (0, 500), "the watch is right");
    cache.forget("d/p");
    assert_eq!(cpu(&cache, "n2"), 500, "a confirmed pod is not forgotten");
    cache.remove_pod("d/p");
    assert_eq!(cpu(&cache, "n2"), 0);
    cache.assume(pod("q", None), "n1");
    cache.forget("d/q");
    assert_eq!(cpu(&cache, "n1"), 0);
}

#[test]
fn pods_outlive_their_node() {
    let mut cache = Cache::default();
    cache.set_pod(pod("p", Some("n1")));
    cache.set_node(node("n1", "a"));
    assert_eq!(cpu(&cache, "n1"), 500);
    cache.remove_node("n1");
    assert_eq!(cpu(&cache, "n1"), -1);
    cache.set_node(node("n1", "a"));
    assert_eq!(cpu(&cache, "n1"), 500);
    cache.remove_node("n1");
    cache.remove_pod("d/p");
    cache.set_node(node("n1", "a"));
    assert_eq!(cpu(&cache, "n1"), 0);
}

#[test]
fn nodes_are_tried_zone_by_zone_and_images_counted() {
    let mut cache = Cache::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b")] {
        cache.set_node(node(name, zone));
    }
    cache.snapshot.settle();
    assert_eq!(cache.snapshot.nodes().map(NodeInfo::name).collect::<Vec<_>>(), ["a1", "b1", "a2", "a3"]);
    assert_eq!(cache.snapshot.image_nodes("a:v1"), 4);
    cache.remove_node("a2");
    cache.set_node(node("a3", "c"));
    cache.snapshot.settle();
    assert_eq!(cache.snapshot.nodes().map(NodeInfo::name).collect::<Vec<_>>(), ["a1", "b1", "a3"]);
    assert_eq!(cache.snapshot.image_nodes("a:v1"), 3);
}
