//! LimitRanger: default requests and limits, and bounds on them, from the `LimitRange` objects of a namespace.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::amounts::{self, Amounts};
use crate::cell::CoreCell;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub(super) struct LimitRanger(pub(super) CoreCell);

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let claims = attributes.is("", "persistentvolumeclaims")
            && matches!(attributes.operation, Operation::Create | Operation::Update);
        claims || (attributes.is("", "pods") && attributes.operation == Operation::Create)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        if attributes.resource.plural == "pods" {
            for range in self.0.list("", "limitranges", attributes.namespace)? {
                set_defaults(object, &range);
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        for range in self.0.list("", "limitranges", attributes.namespace)? {
            let mut errors = Vec::new();
            for limit in items(&range) {
                match (limit.get("type").and_then(Value::as_str), attributes.resource.plural.as_str()) {
                    (Some("Container"), "pods") => check_containers(limit, object, &mut errors),
                    (Some("Pod"), "pods") => check_pod(limit, object, &mut errors),
                    (Some("PersistentVolumeClaim"), "persistentvolumeclaims") => {
                        check_claim(limit, object, &mut errors)
                    }
                    _ => {}
                }
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(attributes.forbidden(one)),
                many => return Err(attributes.forbidden(&format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn items(range: &Value) -> impl Iterator<Item = &Value> {
    range.pointer("/spec/limits").and_then(Value::as_array).into_iter().flatten()
}

// === defaults ===

fn set_defaults(pod: &mut Value, range: &Value) {
    let mut notes = Vec::new();
    for limit in items(range).filter(|l| l.get("type").and_then(Value::as_str) == Some("Container")) {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
                for (from, to, noun) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
                    let set = fill(container, to, limit.get(from));
                    if !set.is_empty() {
                        notes.push(format!("{} {noun} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        meta::map_mut(meta::metadata_value(pod), "annotations").insert(ANNOTATION.to_owned(), text.into());
    }
}

/// Fills in what `resources.<field>` lacks; answers the names.
fn fill(container: &mut Value, field: &str, defaults: Option<&Value>) -> Vec<String> {
    let Some(defaults) = defaults.and_then(Value::as_object).filter(|d| !d.is_empty()) else { return Vec::new() };
    meta::map_mut(container, "resources");
    let slot: &mut Map<String, Value> = meta::map_mut(&mut container["resources"], field);
    let missing: Vec<String> = defaults.keys().filter(|k| !slot.contains_key(*k)).cloned().collect();
    for name in &missing {
        slot.insert(name.clone(), defaults[name].clone());
    }
    missing
}

// === bounds ===

fn check_containers(limit: &Value, pod: &Value, errors: &mut Vec<String>) {
    for container in amounts::containers(pod, "containers").chain(amounts::containers(pod, "initContainers")) {
        check(
            limit,
            "Container",
            &amounts::of_container(container, "requests"),
            &amounts::of_container(container, "limits"),
            errors,
        );
    }
}

fn check_pod(limit: &Value, pod: &Value, errors: &mut Vec<String>) {
    check(limit, "Pod", &amounts::of_pod(pod, "requests"), &amounts::of_pod(pod, "limits"), errors);
}

fn check(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    for (name, bound) in amounts::read(limit.get("min")) {
        let text = format!("minimum {name} usage per {kind} is {bound}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => errors.push(format!("{text}.  No request is specified")),
            (Some(request), _) if *request < bound => errors.push(format!("{text}, but request is {request}")),
            (_, Some(limit)) if *limit < bound => errors.push(format!("{text}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, bound) in amounts::read(limit.get("max")) {
        let text = format!("maximum {name} usage per {kind} is {bound}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => errors.push(format!("{text}.  No limit is specified")),
            (_, Some(limit)) if *limit > bound => errors.push(format!("{text}, but limit is {limit}")),
            (Some(request), _) if *request > bound => errors.push(format!("{text}, but request is {request}")),
            _ => {}
        }
    }
    for (name, bound) in amounts::read(limit.get("maxLimitRequestRatio")) {
        let text = format!("{name} max limit to request ratio per {kind} is {bound}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => errors.push(format!("{text}, but no request is specified or request is 0")),
            (Some(request), _) if request.is_zero() => {
                errors.push(format!("{text}, but no request is specified or request is 0"));
            }
            (_, None) => errors.push(format!("{text}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > bound.as_f64() {
                    errors.push(format!("{text}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn check_claim(limit: &Value, claim: &Value, errors: &mut Vec<String>) {
    let requests = amounts::read(claim.pointer("/spec/resources/requests"));
    let Some(request) = requests.get("storage") else { return };
    if let Some(bound) = amounts::read(limit.get("min")).get("storage")
        && request < bound
    {
        errors.push(format!("minimum storage usage per PersistentVolumeClaim is {bound}, but request is {request}"));
    }
    if let Some(bound) = amounts::read(limit.get("max")).get("storage")
        && request > bound
    {
        errors.push(format!("maximum storage usage per PersistentVolumeClaim is {bound}, but request is {request}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in_and_noted() {
        let range = json!({ "spec": { "limits": [{
            "type": "Container", "default": { "cpu": "1" }, "defaultRequest": { "cpu": "100m", "memory": "1Gi" },
        }] } });
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [
            { "name": "c", "resources": { "requests": { "memory": "2Gi" } } },
        ] } });
        set_defaults(&mut pod, &range);
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"], json!({ "cpu": "100m", "memory": "2Gi" }));
        let note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
        assert_eq!(pod["metadata"]["annotations"][ANNOTATION], note);
    }

    #[test]
    fn bounds_speak_upstreams_words() {
        let limit =
            json!({ "min": { "cpu": "200m" }, "max": { "memory": "1Gi" }, "maxLimitRequestRatio": { "cpu": "2" } });
        let pod = json!({ "spec": { "containers": [
            { "name": "c", "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "2Gi", "cpu": "1" } } },
        ] } });
        let mut errors = Vec::new();
        check_containers(&limit, &pod, &mut errors);
        assert_eq!(
            errors,
            [
                "minimum cpu usage per Container is 200m, but request is 100m",
                "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                "cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000",
            ]
        );
    }
}
