//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::json;

use super::plan::{self, Plan, Surroundings};

fn service(spec: serde_json::Value) -> Service {
    let mut service = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "s", "labels": {"l": "1"}},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
    });
    for (key, value) in spec.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    serde_json::from_value(service).unwrap()
}

fn pod(n: usize, ready: bool, extra: serde_json::Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": format!("p{n}"), "namespace": "ns", "uid": format!("u{n:03}")},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"podIP": format!("10.1.0.{n}"), "phase": "Running",
                   "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}
    });
    for (path, value) in extra.as_object().unwrap() {
        *pod.pointer_mut(path).unwrap() = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node(_: &str) -> Option<Arc<Node>> {
    Some(Arc::new(
        serde_json::from_value(json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z1"}}})).unwrap(),
    ))
}

fn planned(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let around = Surroundings { node: &node, zones: None, shared_out: false, max };
    plan::plan(service, pods, &around, slices)
}

fn named(slices: Vec<EndpointSlice>) -> Vec<Arc<EndpointSlice>> {
    let name = |(i, mut slice): (usize, EndpointSlice)| {
        slice.metadata.name = Some(format!("web-{i}"));
        Arc::new(slice)
    };
    slices.into_iter().enumerate().map(name).collect()
}

fn sizes(plan: &Plan) -> (Vec<usize>, Vec<usize>, usize) {
    let count = |slices: &[EndpointSlice]| slices.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
    (count(&plan.create), count(&plan.update), plan.delete.len())
}

#[test]
fn one_slice_with_everything_in_it() {
    let pods = [pod(1, true, json!({})), pod(2, false, json!({}))];
    let plan = planned(&service(json!({})), &pods, &[], 100);
    let slice = serde_json::to_value(&plan.create[0]).unwrap();
    assert_eq!(
        slice["metadata"]["labels"],
        json!({"l": "1", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"})
    );
    assert_eq!(slice["ports"], json!([{"name": "http", "protocol": "TCP", "port": 8080}]));
    assert_eq!(
        slice["endpoints"][0],
        json!({"addresses": ["10.1.0.1"], "nodeName": "n1", "zone": "z1",
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p1", "uid": "u001"}})
    );
    assert_eq!(slice["endpoints"][1]["conditions"], json!({"ready": false, "serving": false, "terminating": false}));
    assert!(planned(&service(json!({})), &pods, &named(plan.create), 100).is_empty());
}

#[test]
fn readiness_of_special_pods() {
    let leaving = pod(1, true, json!({}));
    let leaving = Arc::new(Pod {
        metadata: api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            deletion_timestamp: Some(api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                component_base::clock::now(),
            )),
            ..leaving.metadata.clone()
        },
        ..leaving.as_ref().clone()
    });
    let finished = pod(2, false, json!({"/status/phase": "Succeeded"}));
    let plan = planned(&service(json!({"publishNotReadyAddresses": false})), &[leaving.clone(), finished], &[], 100);
    assert_eq!(sizes(&plan).0, [1]);
    let conditions = plan.create[0].endpoints.as_ref().unwrap()[0].conditions.clone().unwrap();
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (Some(false), Some(true), Some(true)));
    let plan = planned(&service(json!({"publishNotReadyAddresses": true})), &[leaving], &[], 100);
    assert_eq!(plan.create[0].endpoints.as_ref().unwrap()[0].conditions.as_ref().unwrap().ready, Some(true));
}

#[test]
fn slices_fill_and_empty() {
    let service = service(json!({}));
    let pods: Vec<_> = (1..=5).map(|n| pod(n, true, json!({}))).collect();
    let plan = planned(&service, &pods, &[], 2);
    assert_eq!(sizes(&plan), (vec![2, 2, 1], vec![], 0));
    let slices = named(plan.create);
    // One more goes into the slice with room; the others stay.
    let six: Vec<_> = (1..=6).map(|n| pod(n, true, json!({}))).collect();
    assert_eq!(sizes(&planned(&service, &six, &slices, 2)), (vec![], vec![2], 0));
    // The first slice loses both.
    assert_eq!(sizes(&planned(&service, &pods[2..], &slices, 2)), (vec![], vec![], 1));
    // None left: one empty slice stays.
    assert_eq!(sizes(&planned(&service, &[], &slices, 2)), (vec![], vec![0], 2));
    let empty = planned(&service, &[], &[], 2);
    assert_eq!(sizes(&empty), (vec![0], vec![], 0));
    assert!(planned(&service, &[], &named(empty.create), 2).is_empty());
}

#[test]
fn pods_with_other_ports_get_their_own_slice_and_families_are_apart() {
    let other = pod(2, true, json!({"/spec/containers/0/ports/0/containerPort": 9090}));
    let plan = planned(&service(json!({})), &[pod(1, true, json!({})), other], &[], 100);
    assert_eq!(sizes(&plan).0, [1, 1]);
    let dual = service(json!({"ipFamilies": ["IPv4", "IPv6"]}));
    let plan = planned(&dual, &[pod(1, true, json!({}))], &[], 100);
    let types: Vec<_> =
        plan.create.iter().map(|s| (s.address_type.as_str(), s.endpoints.as_ref().unwrap().len())).collect();
    assert_eq!(types, [("IPv4", 1), ("IPv6", 0)]);
    // A family that the service lost goes.
    let slices = named(plan.create);
    assert_eq!(sizes(&planned(&service(json!({})), &[pod(1, true, json!({}))], &slices, 100)), (vec![], vec![], 1));
}

#[test]
fn headless_services_are_labelled() {
    let plan = planned(&service(json!({"clusterIP": "None", "ports": null})), &[pod(1, true, json!({}))], &[], 100);
    assert!(plan.create[0].metadata.labels.as_ref().unwrap().contains_key("service.kubernetes.io/headless"));
    assert_eq!(plan.create[0].ports, None);
}
