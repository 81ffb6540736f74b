//! The simple pages: pods, configuration, metrics, files of the host's log directory.

use super::{Failure, fail};
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::spec::labels;
use api_types::k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use component_base::serving::{Body, full, text};
use http::{HeaderValue, Response, StatusCode, header};
use k8s_cri::v1::ContainerState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn json_answer(value: &Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn list(pods: Vec<Pod>) -> Response<Body> {
    json_answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}))
}

/// The pods bound to this node, with the statuses that this kubelet knows.
pub(super) fn pods(agent: &Agent) -> Response<Body> {
    let current = |pod: std::sync::Arc<Pod>| {
        let mut pod = pod.as_ref().clone();
        pod.status = Some(agent.statuses.status(&pod));
        pod
    };
    list(agent.pods.all().into_iter().map(current).collect())
}

/// What the runtime runs, in the shape of pods.
pub(super) async fn running_pods(agent: &Agent) -> Result<Response<Body>, Failure> {
    let containers = agent.runtime.list_containers(None).await;
    let containers = containers.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
    for container in containers.into_iter().filter(|c| c.state() == ContainerState::ContainerRunning) {
        let label = |key: &str| container.labels.get(key).cloned();
        let pod = pods.entry(label(labels::POD_UID).unwrap_or_default()).or_insert_with(|| Pod {
            metadata: ObjectMeta {
                name: label(labels::POD_NAME),
                namespace: label(labels::POD_NAMESPACE),
                uid: label(labels::POD_UID),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec::default()),
            status: None,
        });
        if let Some(spec) = &mut pod.spec {
            spec.containers.push(Container {
                name: label(labels::CONTAINER_NAME).unwrap_or_default(),
                image: Some(container.image_ref.clone()),
                ..Container::default()
            });
        }
    }
    Ok(list(pods.into_values().collect()))
}

/// The configuration in effect.
pub(super) fn configz(agent: &Agent) -> Response<Body> {
    json_answer(&json!({"kubeletconfig": agent.config.document}))
}

/// The kubelet's own metrics.
pub(super) fn metrics(agent: &Agent) -> Response<Body> {
    let mut out = component_base::metrics::render();
    let pods = agent.pods.all();
    let running = pods.iter().filter(|pod| agent.statuses.status(pod).phase.as_deref() == Some("Running")).count();
    let mut gauge = |name: &str, help: &str, value: String| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{value}\n"));
    };
    gauge(
        "kubelet_running_pods",
        "[BETA] Number of pods that have a running pod sandbox",
        format!("kubelet_running_pods {running}"),
    );
    let desired = pods.iter().filter(|pod| !pod.is_static()).count();
    let fixed = pods.len() - desired;
    gauge(
        "kubelet_desired_pods",
        "[ALPHA] The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.",
        format!("kubelet_desired_pods{{static=\"\"}} {desired}\nkubelet_desired_pods{{static=\"true\"}} {fixed}"),
    );
    let node = &agent.config.node.name;
    gauge(
        "kubelet_node_name",
        "[ALPHA] The node's name. The count is always 1.",
        format!("kubelet_node_name{{node={node:?}}} 1"),
    );
    text(StatusCode::OK, out)
}

/// A file below the log directory, or the names in a directory.
pub(super) async fn host_logs(agent: &Agent, file: &str) -> Result<Response<Body>, Failure> {
    let not_found = || fail(StatusCode::NOT_FOUND, "404 page not found");
    if Path::new(file).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
        return not_found();
    }
    let path = agent.config.paths.logs.join(file);
    let io = |error: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    match agent.host.kind(&path).await.map_err(io)? {
        crate::host::PathKind::Directory => {
            let names = agent.host.list(&path).await.map_err(io)?;
            let links: String = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a>\n")).collect();
            let mut response = Response::new(full(format!("<pre>\n{links}</pre>\n")));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
            Ok(response)
        }
        crate::host::PathKind::File => match agent.host.read(&path).await.map_err(io)? {
            Some(bytes) => Ok(text(StatusCode::OK, bytes)),
            None => not_found(),
        },
        _ => not_found(),
    }
}
