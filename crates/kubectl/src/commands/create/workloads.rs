//! Generators of workloads and of small objects.

use serde_json::{Value, json};

use super::metadata;
use crate::cli::context::Context;
use crate::error::Result;
use crate::fail;
use crate::resource::select;

pub(super) fn namespace(_: &Context, name: &str) -> Result<Value> {
    Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata(name), "spec": {}, "status": {}}))
}

pub(super) fn serviceaccount(_: &Context, name: &str) -> Result<Value> {
    Ok(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name)}))
}

/// The name of a container that runs an image: the image's, without registry, tag and digest.
pub(super) fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let base = last.split(['@', ':']).next().unwrap_or(last);
    base.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

pub(super) fn deployment(cx: &Context, name: &str) -> Result<Value> {
    let images = cx.flags.list("image");
    if images.is_empty() {
        fail!("required flag(s) \"image\" not set");
    }
    let (_, command) = cx.split_args();
    if images.len() > 1 && !command.is_empty() {
        fail!("cannot specify multiple --image options and command");
    }
    let port = cx.flags.int("port");
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(i, image)| {
            let mut container = json!({"name": container_name(image), "image": image, "resources": {}});
            if !command.is_empty() {
                container["command"] = json!(command);
            }
            if i == 0 && port >= 0 {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        })
        .collect();
    let labels = json!({"app": name});
    let mut meta = metadata(name);
    meta["labels"] = labels.clone();
    Ok(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
        "spec": {
            "replicas": cx.flags.int("replicas"), "selector": {"matchLabels": labels}, "strategy": {},
            "template": {"metadata": {"creationTimestamp": null, "labels": labels}, "spec": {"containers": containers}}
        },
        "status": {}
    }))
}

fn job_spec(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({"template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": [container], "restartPolicy": restart}}})
}

pub(super) async fn job(cx: &Context, name: &str) -> Result<Value> {
    let (_, command) = cx.split_args();
    match (cx.flags.opt("image"), cx.flags.opt("from")) {
        (Some(_), Some(_)) | (None, None) => fail!("either --image or --from must be specified"),
        (Some(image), None) => Ok(json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(name), "spec": job_spec(name, image, command, "Never"), "status": {}
        })),
        (None, Some(from)) => {
            if !command.is_empty() {
                fail!("cannot specify --from and command");
            }
            let source = select::one(cx, from, "cronjobs").await?;
            if source.resource.kind != "CronJob" {
                fail!("from must be an existing cronjob");
            }
            let template = &source.object["spec"]["jobTemplate"];
            let mut meta = metadata(name);
            let mut annotations = template["metadata"]["annotations"].clone();
            if !annotations.is_object() {
                annotations = json!({});
            }
            annotations["cronjob.kubernetes.io/instantiate"] = json!("manual");
            meta["annotations"] = annotations;
            if template["metadata"]["labels"].is_object() {
                meta["labels"] = template["metadata"]["labels"].clone();
            }
            meta["ownerReferences"] = json!([{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": source.name, "uid": source.object["metadata"]["uid"], "controller": true
            }]);
            Ok(
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"], "status": {}}),
            )
        }
    }
}

pub(super) fn cronjob(cx: &Context, name: &str) -> Result<Value> {
    let (image, schedule) = (cx.flags.require("image")?, cx.flags.require("schedule")?);
    let (_, command) = cx.split_args();
    let restart = cx.flags.opt("restart").unwrap_or("OnFailure");
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata(name),
        "spec": {"schedule": schedule, "jobTemplate": {"metadata": metadata(name), "spec": job_spec(name, image, command, restart)}},
        "status": {}
    }))
}

pub(super) fn quota(cx: &Context, name: &str) -> Result<Value> {
    let mut spec = json!({});
    for pair in cx.flags.text("hard").split(',').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=').filter(|(_, v)| !v.is_empty()) else {
            fail!("Invalid argument syntax {pair}, expected <resource>=<value>");
        };
        spec["hard"][key] = json!(value);
    }
    let scopes: Vec<&str> = cx.flags.text("scopes").split(',').filter(|s| !s.is_empty()).collect();
    if !scopes.is_empty() {
        spec["scopes"] = json!(scopes);
    }
    Ok(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata(name), "spec": spec, "status": {}}))
}

fn int_or_text(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |n| json!(n))
}

pub(super) fn poddisruptionbudget(cx: &Context, name: &str) -> Result<Value> {
    let Some(selector) = cx.flags.opt("selector") else { fail!("a selector must be specified") };
    let mut labels = json!({});
    for pair in selector.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            fail!("invalid selector {selector:?}: only key=value pairs are supported here")
        };
        labels[key.trim()] = json!(value.trim_start_matches('=').trim());
    }
    let mut spec = json!({"selector": {"matchLabels": labels}});
    match (cx.flags.opt("min-available"), cx.flags.opt("max-unavailable")) {
        (Some(_), Some(_)) => fail!("min-available and max-unavailable cannot be both specified"),
        (None, None) => fail!("one of min-available or max-unavailable must be specified"),
        (Some(min), None) => spec["minAvailable"] = int_or_text(min),
        (None, Some(max)) => spec["maxUnavailable"] = int_or_text(max),
    }
    Ok(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(name), "spec": spec,
        "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}
    }))
}

pub(super) fn priorityclass(cx: &Context, name: &str) -> Result<Value> {
    cx.flags.require("value")?;
    let mut object = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata(name),
        "value": cx.flags.int("value"), "preemptionPolicy": cx.flags.text("preemption-policy")
    });
    if cx.flags.bool("global-default") {
        object["globalDefault"] = json!(true);
    }
    if let Some(description) = cx.flags.opt("description") {
        object["description"] = json!(description);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    #[test]
    fn containers_are_named_after_images() {
        for (image, want) in
            [("nginx", "nginx"), ("nginx:1.2", "nginx"), ("reg:5000/a/Web_x@sha256:00", "web-x"), ("a/b:c", "b")]
        {
            assert_eq!(super::container_name(image), want);
        }
    }
}
