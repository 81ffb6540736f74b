//! Horizontal autoscaling, with metrics that custom resources in the metrics APIs' groups stand for.

use std::time::Duration;

use api_types::k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Event, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testkit::{builders::deployment, eventually};
use tokio::time::Instant;

use super::{MINUTE, in_default, on_cluster};

/// Defines a resource whose objects may hold anything.
async fn define(client: &Client, group: &str, version: &str, names: (&str, &str), subresources: Value) {
    let (plural, kind) = names;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version =
        json!({"name": version, "served": true, "storage": true, "schema": schema, "subresources": subresources});
    let name = format!("{plural}.{group}");
    let approved = json!({"api-approved.kubernetes.io": "unapproved, for a test"});
    let definition = json!({"metadata": {"name": name, "annotations": approved}, "spec": {"group": group,
        "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [version]}});
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    api.create(&PostParams::default(), &definition).await.unwrap();
    let established = || async {
        let found = api.get(&name).await.map_err(|error| error.to_string())?;
        let conditions = found.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut established = conditions.filter(|it| it.type_ == "Established" && it.status == "True");
        established.next().map(drop).ok_or_else(|| "not established".to_owned())
    };
    eventually(MINUTE, "the resource served", established).await;
}

fn dynamic(client: &Client, api_version: &str, plural: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap();
    let resource = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: api_version.into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    Api::namespaced_with(client.clone(), "default", &resource)
}

/// Every pod of the target uses this much, from now on.
async fn set_usage(client: &Client, cpu: &str) {
    let metrics = dynamic(client, "metrics.k8s.io/v1beta1", "pods", "PodMetrics");
    for pod in in_default::<Pod>(client).list(&ListParams::default()).await.unwrap() {
        let object = json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": pod.name_any(), "labels": pod.labels()},
            "timestamp": "2100-01-01T00:00:00Z", "window": "15s",
            "containers": [{"name": "main", "usage": {"cpu": cpu}}]});
        metrics.patch(&pod.name_any(), &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();
    }
}

async fn autoscale(client: &Client, target: Value, metric: Value, behavior: Value) {
    let scaler = json!({"metadata": {"name": "scaler"}, "spec": {"minReplicas": 1, "maxReplicas": 6,
        "scaleTargetRef": target, "metrics": [metric], "behavior": behavior}});
    let scaler: HorizontalPodAutoscaler = serde_json::from_value(scaler).unwrap();
    in_default(client).create(&PostParams::default(), &scaler).await.unwrap();
}

fn of_cpu() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

async fn deploy(client: &Client, replicas: i32) {
    let web = deployment("web").namespace("default").replicas(replicas).pods(|pod| pod.cpu("100m")).build();
    let create = || async {
        in_default(client).create(&PostParams::default(), &web).await.map(|_: Deployment| ()).map_err(|e| e.to_string())
    };
    eventually(MINUTE, "the deployment created", create).await;
    has_ready(client, replicas).await;
}

/// Waits until the deployment has so many ready pods, and no others.
async fn has_ready(client: &Client, wanted: i32) {
    let deployments: Api<Deployment> = in_default(client);
    let ready = || async {
        let status = deployments.get("web").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let counts = (status.replicas.unwrap_or_default(), status.ready_replicas.unwrap_or_default());
        if counts == (wanted, wanted) { Ok(()) } else { Err(format!("{counts:?}")) }
    };
    eventually(10 * MINUTE, "the deployment scaled", ready).await;
}

/// Waits for a condition with this reason; its message.
async fn condition(client: &Client, type_: &str, reason: &str) -> String {
    let scalers: Api<HorizontalPodAutoscaler> = in_default(client);
    let found = || async {
        let status = scalers.get("scaler").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let found = conditions.iter().find(|it| it.type_ == type_ && it.reason.as_deref() == Some(reason));
        found.and_then(|it| it.message.clone()).ok_or_else(|| format!("{conditions:?}"))
    };
    eventually(2 * MINUTE, "the condition", found).await
}

/// Waits for an event of the autoscaler that starts like this.
async fn event(client: &Client, reason: &str, start: &str) {
    let events: Api<Event> = in_default(client);
    let found = || async {
        let events = events.list(&ListParams::default().fields("involvedObject.name=scaler")).await;
        let events = events.map_err(|error| error.to_string())?;
        let told: Vec<_> = events.iter().map(|event| (event.reason.clone(), event.message.clone())).collect();
        let is_told = events.iter().any(|event| {
            event.reason.as_deref() == Some(reason) && event.message.as_deref().unwrap_or_default().starts_with(start)
        });
        if is_told { Ok(()) } else { Err(format!("{told:?}")) }
    };
    eventually(MINUTE, "the event", found).await;
}

#[test]
fn a_deployment_follows_its_cpu() {
    on_cluster(73, 2, async |cluster| {
        let admin = cluster.admin();
        deploy(&admin, 2).await;
        autoscale(&admin, json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}), of_cpu(), Value::Null)
            .await;
        let message = condition(&admin, "ScalingActive", "FailedGetResourceMetric").await;
        assert!(
            message.contains("the server could not find the requested resource (get pods.metrics.k8s.io)"),
            "{message}"
        );
        event(&admin, "FailedComputeMetricsReplicas", "invalid metrics (1 invalid out of 1), first error is: ").await;
        define(&admin, "metrics.k8s.io", "v1beta1", ("pods", "PodMetrics"), Value::Null).await;
        set_usage(&admin, "100m").await;
        has_ready(&admin, 4).await;
        event(
            &admin,
            "SuccessfulRescale",
            "New size: 4; reason: cpu resource utilization (percentage of request) above target",
        )
        .await;
        set_usage(&admin, "100m").await;
        has_ready(&admin, 6).await;
        condition(&admin, "ScalingLimited", "TooManyReplicas").await;
        // Idle: nothing is done before the recommendations of the last five minutes are all low.
        set_usage(&admin, "1m").await;
        let since = Instant::now();
        condition(&admin, "AbleToScale", "ScaleDownStabilized").await;
        has_ready(&admin, 1).await;
        assert!(since.elapsed() > Duration::from_secs(280), "{:?}", since.elapsed());
        event(&admin, "SuccessfulRescale", "New size: 1; reason: All metrics below target").await;
        // Scaled to nothing by hand it is left alone.
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        in_default::<Deployment>(&admin).patch("web", &PatchParams::default(), &patch).await.unwrap();
        condition(&admin, "ScalingActive", "ScalingDisabled").await;
    });
}

#[test]
fn a_custom_resource_follows_a_queue() {
    on_cluster(74, 1, async |cluster| {
        let admin = cluster.admin();
        let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size",
            "labelSelectorPath": ".status.selector"});
        define(&admin, "example.com", "v1", ("farms", "Farm"), json!({"status": {}, "scale": scale})).await;
        define(&admin, "external.metrics.k8s.io", "v1beta1", ("queue", "ExternalMetricValue"), Value::Null).await;
        let farms = dynamic(&admin, "example.com/v1", "farms", "Farm");
        let farm =
            json!({"apiVersion": "example.com/v1", "kind": "Farm", "metadata": {"name": "farm"}, "spec": {"size": 1}});
        farms.create(&PostParams::default(), &serde_json::from_value(farm).unwrap()).await.unwrap();
        let status = Patch::Merge(json!({"status": {"size": 1, "selector": "app=farm"}}));
        farms.patch_status("farm", &PatchParams::default(), &status).await.unwrap();
        let metrics = dynamic(&admin, "external.metrics.k8s.io/v1beta1", "queue", "ExternalMetricValue");
        for (name, queue, value) in [("a", "jobs", "25"), ("b", "jobs", "20"), ("c", "other", "1000")] {
            let value = json!({"apiVersion": "external.metrics.k8s.io/v1beta1", "kind": "ExternalMetricValue",
                "metadata": {"name": name, "labels": {"queue": queue}}, "metricName": "queue", "value": value});
            metrics.create(&PostParams::default(), &serde_json::from_value(value).unwrap()).await.unwrap();
        }
        let metric = json!({"name": "queue", "selector": {"matchLabels": {"queue": "jobs"}}});
        let metric = json!({"type": "External", "external": {"metric": metric,
            "target": {"type": "AverageValue", "averageValue": "10"}}});
        let up = json!({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]});
        autoscale(
            &admin,
            json!({"apiVersion": "example.com/v1", "kind": "Farm", "name": "farm"}),
            metric,
            json!({"scaleUp": up}),
        )
        .await;
        // 45 jobs are work for five, two more a minute.
        let mut steps = Vec::new();
        for size in [3, 5] {
            let since = Instant::now();
            let scaled = || async {
                let farm = farms.get("farm").await.map_err(|error| error.to_string())?;
                if farm.data["spec"]["size"] == size { Ok(()) } else { Err(farm.data["spec"].to_string()) }
            };
            eventually(3 * MINUTE, "the farm scaled", scaled).await;
            steps.push(since.elapsed());
        }
        assert!(steps[1] >= Duration::from_secs(45), "{steps:?}");
        let message = condition(&admin, "ScalingActive", "ValidMetricFound").await;
        assert!(
            message.contains("external metric queue(&LabelSelector{MatchLabels:map[string]string{queue: jobs,}"),
            "{message}"
        );
    });
}
