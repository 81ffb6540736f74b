//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::json;

use super::plan;

fn service(publish: bool) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns"},
        "spec": {"selector": {"a": "b"}, "publishNotReadyAddresses": publish, "ports": [{"port": 80, "targetPort": 8080}]}
    }))
    .unwrap()
}

fn pod(name: &str, ip: &str, ready: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": {"containers": [], "nodeName": "n"},
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap(),
    )
}

#[test]
fn ready_and_unready_addresses_are_apart() {
    let pods = [pod("b", "10.0.0.2", "True"), pod("a", "10.0.0.1", "True"), pod("c", "10.0.0.3", "False")];
    let service = service(false);
    let endpoints = plan::endpoints(&service, service.spec.as_ref().unwrap(), &pods, None);
    assert!(plan::is_ours(&endpoints));
    let subset = &endpoints.subsets.as_ref().unwrap()[0];
    let ips: Vec<_> = subset.addresses.iter().flatten().map(|a| a.ip.as_str()).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap()[0].ip, "10.0.0.3");
    assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);
    let again = plan::endpoints(&service, service.spec.as_ref().unwrap(), &pods, Some(&endpoints));
    assert_eq!(again, endpoints);
}

#[test]
fn unready_ones_are_published_on_demand_and_none_is_no_subset() {
    let service = service(true);
    let spec = service.spec.as_ref().unwrap();
    let endpoints = plan::endpoints(&service, spec, &[pod("c", "10.0.0.3", "False")], None);
    assert_eq!(endpoints.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 1);
    assert_eq!(plan::endpoints(&service, spec, &[pod("c", "", "True")], None).subsets, None);
}

#[test]
fn too_many_are_cut_and_it_is_said() {
    let pods: Vec<_> =
        (0..1001).map(|n| pod(&n.to_string(), &format!("10.0.{}.{}", n / 250, n % 250), "True")).collect();
    let service = service(false);
    let endpoints = plan::endpoints(&service, service.spec.as_ref().unwrap(), &pods, None);
    assert_eq!(endpoints.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 1000);
    assert_eq!(endpoints.metadata.annotations.unwrap()["endpoints.kubernetes.io/over-capacity"], "truncated");
}
