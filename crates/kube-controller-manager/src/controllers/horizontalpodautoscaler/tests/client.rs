//! What is asked of the metrics APIs, and what their answers are taken for.

use std::sync::Arc;

use http::{Request, Response};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::super::{
    client::MetricsClient,
    metrics::{PodMetrics, Sample},
};
use crate::discovery::Discovery;

type Asked = Arc<Mutex<Vec<String>>>;

/// A client whose server answers these paths (up to the query), and what was asked of it.
fn client(answers: Vec<(&'static str, Value)>) -> (MetricsClient, Asked) {
    let asked = Asked::default();
    let (record, answers) = (asked.clone(), Arc::new(answers));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (record, answers) = (record.clone(), answers.clone());
        async move {
            record.lock().push(request.uri().to_string());
            let answer = answers.iter().find(|(path, _)| *path == request.uri().path());
            let (code, body) = match answer {
                Some((_, body)) => (200, body.to_string()),
                None => (404, "404 page not found\n".to_owned()),
            };
            Response::builder().status(code).body(Body::from(body.into_bytes()))
        }
    });
    let client = Client::new(service, "default");
    (MetricsClient { discovery: Discovery::new(client.clone()), client }, asked)
}

async fn sample(client: &MetricsClient, spec: Value) -> Result<Sample, String> {
    let spec = serde_json::from_value(spec).unwrap();
    client.sample(&spec, "ns", &"app=web,tier in (a,b)".parse().unwrap()).await
}

fn values(sample: Sample) -> Vec<(String, i64, i64)> {
    let Sample::Pods(metrics): Sample = sample else { panic!("{sample:?}") };
    let metrics: PodMetrics = metrics;
    metrics.into_iter().map(|(pod, metric)| (pod, metric.value, metric.window.as_secs())).collect()
}

fn group(versions: &[&str]) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": format!("custom.metrics.k8s.io/{version}"), "version": version});
    json!({"kind": "APIGroup", "name": "custom.metrics.k8s.io", "versions": versions.iter().map(version).collect::<Vec<_>>()})
}

fn pods_metric() -> Value {
    let metric = json!({"name": "http/requests", "selector": {"matchLabels": {"verb": "GET"}}});
    json!({"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "1"}}})
}

fn cpu_of(container: &str) -> Value {
    json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": container,
        "target": {"type": "AverageValue", "averageValue": "1"}}})
}

#[tokio::test]
async fn resources_are_summed_over_containers() {
    let item = |pod: &str, containers: Value| {
        json!({"metadata": {"name": pod, "namespace": "ns"},
        "timestamp": "2026-01-01T10:00:00Z", "window": "1m0.5s", "containers": containers})
    };
    let list = json!({"items": [
        item("a", json!([{"name": "x", "usage": {"cpu": "100m"}}, {"name": "y", "usage": {"cpu": "1500u"}}])),
        item("b", json!([{"name": "x", "usage": {"cpu": "1"}}, {"name": "y", "usage": {}}])),
        item("c", json!([])),
    ]});
    let (client, asked) = client(vec![("/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods", list)]);
    let whole = json!({"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 5}}});
    assert_eq!(values(sample(&client, whole).await.unwrap()), [("a".into(), 102, 60)]);
    let selector = "labelSelector=app%3Dweb%2Ctier%20in%20(a%2Cb)";
    assert_eq!(*asked.lock(), [format!("/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods?{selector}")]);
    let error = sample(&client, cpu_of("x")).await.unwrap_err();
    assert_eq!(error, "failed to get container metrics: container x not present in metrics for pod ns/c");
}

#[tokio::test]
async fn custom_metrics_are_asked_in_the_best_version() {
    let path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/pods/*/http%2Frequests";
    let new = json!({"items": [{"describedObject": {"kind": "Pod", "name": "a"}, "metric": {"name": "http/requests"},
        "timestamp": "2026-01-01T10:00:00Z", "windowSeconds": 30, "value": "10"}]});
    let served = group(&["v1beta1", "v1beta2"]);
    let (both, asked) = client(vec![("/apis/custom.metrics.k8s.io", served), (path, new)]);
    assert_eq!(values(sample(&both, pods_metric()).await.unwrap()), [("a".into(), 10_000, 30)]);
    assert!(asked.lock()[1].ends_with("&metricLabelSelector=verb%20in%20(GET)"), "{asked:?}");
    let path = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/ns/pods/*/http%2Frequests";
    let old = json!({"items": [{"describedObject": {"kind": "Pod", "name": "a"}, "metricName": "http/requests",
        "timestamp": "2026-01-01T10:00:00Z", "window": 20, "value": "7"}]});
    let (one, _) = client(vec![("/apis/custom.metrics.k8s.io", group(&["v1beta1"])), (path, old)]);
    assert_eq!(values(sample(&one, pods_metric()).await.unwrap()), [("a".into(), 7_000, 20)]);
}

#[tokio::test]
async fn an_object_has_one_value() {
    let spec = |kind: &str, version: &str| {
        json!({"type": "Object", "object": {"metric": {"name": "hits"},
        "describedObject": {"apiVersion": version, "kind": kind, "name": "main"},
        "target": {"type": "Value", "value": "1"}}})
    };
    let resource = |plural: &str, kind: &str| {
        json!({"resource": plural, "responseKind": {"kind": kind, "group": "", "version": ""},
        "scope": "Namespaced", "verbs": ["get"]})
    };
    let core = json!({"items": [{"metadata": {"name": ""}, "versions": [
        {"version": "v1", "resources": [resource("services", "Service"), resource("namespaces", "Namespace")]}]}]});
    let groups = json!({"items": [{"metadata": {"name": "networking.k8s.io"}, "versions": [
        {"version": "v1", "resources": [resource("ingresses", "Ingress")]}]}]});
    let value =
        |value: &str| json!({"items": [{"describedObject": {"name": "main"}, "timestamp": null, "value": value}]});
    let base = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns";
    let path = |rest: &str| -> &'static str { format!("{base}/{rest}/hits").leak() };
    let (client, _) = client(vec![
        ("/api", core),
        ("/apis", groups),
        ("/apis/custom.metrics.k8s.io", group(&["v1beta2"])),
        (path("services/main"), value("3")),
        (path("ingresses.networking.k8s.io/main"), value("500m")),
        (path("metrics"), json!({"items": []})),
    ]);
    assert_eq!(sample(&client, spec("Service", "v1")).await, Ok(Sample::Total(3_000)));
    assert_eq!(sample(&client, spec("Ingress", "networking.k8s.io/v1")).await, Ok(Sample::Total(500)));
    let error = sample(&client, spec("Namespace", "v1")).await.unwrap_err();
    assert_eq!(
        error,
        "unable to fetch metrics from custom metrics API: the custom metrics API server returned 0 results \
                       when we asked for exactly one"
    );
    assert!(sample(&client, spec("Other", "v1")).await.unwrap_err().contains("no matches for kind \"Other\""));
}

#[tokio::test]
async fn external_metrics_are_summed() {
    let list = json!({"items": [{"metricName": "queue", "value": "3"}, {"metricName": "queue", "value": "4500m"}]});
    let (client, asked) = client(vec![("/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue", list)]);
    let spec = |selector: Value| {
        json!({"type": "External", "external": {"metric": {"name": "queue", "selector": selector},
        "target": {"type": "Value", "value": "1"}}})
    };
    assert_eq!(sample(&client, spec(Value::Null)).await, Ok(Sample::Total(7_500)));
    let selector = json!({"matchExpressions": [{"key": "q", "operator": "Exists"}]});
    assert_eq!(sample(&client, spec(selector)).await, Ok(Sample::Total(7_500)));
    assert!(asked.lock()[1].ends_with("/queue?labelSelector=q"), "{asked:?}");
}

#[tokio::test]
async fn apis_that_nobody_serves_are_told_as_upstream_does() {
    let (client, _) = client(vec![]);
    let resource = sample(&client, cpu_of("x")).await.unwrap_err();
    assert_eq!(
        resource,
        "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    );
    let custom = sample(&client, pods_metric()).await.unwrap_err();
    assert_eq!(
        custom,
        "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
    );
}
