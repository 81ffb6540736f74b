//! Cells of workloads, autoscalers, nodes, volumes and events.

use jiff::Timestamp;
use serde_json::Value;

use super::text::{age, at, human_duration, joined, list, or, text};

/// The pod template of a workload.
fn pod_spec(object: &Value) -> &Value {
    at(object, ".spec.template.spec")
}

pub(super) fn containers(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(&pod_spec(object)["containers"], "name"))
}

pub(super) fn images(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(&pod_spec(object)["containers"], "image"))
}

pub(super) fn cron_containers(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(at(object, ".spec.jobTemplate.spec.template.spec.containers"), "name"))
}

pub(super) fn cron_images(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(at(object, ".spec.jobTemplate.spec.template.spec.containers"), "image"))
}

pub(super) fn template_containers(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(at(object, ".template.spec.containers"), "name"))
}

pub(super) fn template_images(object: &Value, _now: Timestamp) -> Value {
    Value::from(joined(at(object, ".template.spec.containers"), "image"))
}

pub(super) fn selector(object: &Value, _now: Timestamp) -> Value {
    Value::from(selector_text(at(object, ".spec.selector")))
}

pub(super) fn pod_selector(object: &Value, _now: Timestamp) -> Value {
    Value::from(selector_text(at(object, ".spec.podSelector")))
}

/// A label selector as text; equalities read `a=b`.
fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in list(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = list(&expression["values"]).filter_map(Value::as_str).collect();
        values.sort_unstable();
        let text = match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

pub(super) fn revision_owner(object: &Value, _now: Timestamp) -> Value {
    let owner = list(at(object, ".metadata.ownerReferences")).find(|o| o["controller"] == true);
    let Some(owner) = owner else { return Value::from("<none>") };
    let group = owner["apiVersion"].as_str().and_then(|v| v.split_once('/')).map_or("", |(group, _)| group);
    let dot = if group.is_empty() { "" } else { "." };
    let kind = format!("{}{dot}{group}", owner["kind"].as_str().unwrap_or_default()).to_lowercase();
    Value::from(format!("{kind}/{}", owner["name"].as_str().unwrap_or_default()))
}

// === jobs ===

fn job_condition(job: &Value, name: &str) -> bool {
    list(at(job, ".status.conditions")).any(|c| c["type"] == name && c["status"] == "True")
}

pub(super) fn job_status(job: &Value, _now: Timestamp) -> Value {
    let reached = ["Complete", "Failed"].into_iter().find(|name| job_condition(job, name));
    let deleted = !at(job, ".metadata.deletionTimestamp").is_null();
    let later = ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|name| job_condition(job, name));
    Value::from(match (reached, later) {
        (Some(name), _) => name,
        (None, _) if deleted => "Terminating",
        (None, Some(name)) => name,
        (None, None) => "Running",
    })
}

pub(super) fn job_completions(job: &Value, _now: Timestamp) -> Value {
    let succeeded = at(job, ".status.succeeded").as_i64().unwrap_or(0);
    let parallelism = at(job, ".spec.parallelism").as_i64().unwrap_or(0);
    Value::from(match at(job, ".spec.completions").as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    })
}

pub(super) fn job_duration(job: &Value, now: Timestamp) -> Value {
    let time = |path: &str| at(job, path).as_str().and_then(|t| api_types::time::parse(t).ok());
    let Some(start) = time(".status.startTime") else { return Value::from("") };
    let end = time(".status.completionTime").unwrap_or(now);
    Value::from(human_duration(end.as_second() - start.as_second()))
}

// === autoscalers ===

pub(super) fn hpa_reference(hpa: &Value, _now: Timestamp) -> Value {
    let target = at(hpa, ".spec.scaleTargetRef");
    let part = |name: &str| target[name].as_str().unwrap_or_default();
    Value::from(format!("{}/{}", part("kind"), part("name")))
}

pub(super) fn hpa_targets(hpa: &Value, _now: Timestamp) -> Value {
    let utilization = at(hpa, ".spec.targetCPUUtilizationPercentage").as_i64();
    let specs: Vec<&Value> = list(at(hpa, ".spec.metrics")).collect();
    if let (Some(target), true) = (utilization, specs.is_empty()) {
        let current = at(hpa, ".status.currentCPUUtilizationPercentage").as_i64();
        let current = current.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
        return Value::from(format!("cpu: {current}/{target}%"));
    }
    if specs.is_empty() {
        return Value::from("<none>");
    }
    let statuses: Vec<&Value> = list(at(hpa, ".status.currentMetrics")).collect();
    let all: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| metric(spec, statuses.get(i).copied().unwrap_or(&Value::Null)))
        .collect();
    let shown = all[..all.len().min(2)].join(", ");
    Value::from(if all.len() > 2 { format!("{shown} + {} more...", all.len() - 2) } else { shown })
}

/// One metric as `current/target`.
fn metric(spec: &Value, status: &Value) -> String {
    let (field, ty) = match spec["type"].as_str().unwrap_or_default() {
        "External" => ("external", "External"),
        "Pods" => ("pods", "Pods"),
        "Object" => ("object", "Object"),
        "Resource" => ("resource", "Resource"),
        "ContainerResource" => ("containerResource", "ContainerResource"),
        _ => return "<unknown type>".to_owned(),
    };
    let target = &spec[field]["target"];
    let current = |value: &str| status[field]["current"][value].as_str().unwrap_or("<unknown>").to_owned();
    let name = spec[field]["name"].as_str().unwrap_or_default();
    let average = target["averageValue"].as_str();
    match (ty, average) {
        ("Pods", _) => format!("{}/{}", current("averageValue"), average.unwrap_or_default()),
        ("External" | "Object", Some(average)) => format!("{}/{average} (avg)", current("averageValue")),
        ("External" | "Object", None) => {
            format!("{}/{}", current("value"), target["value"].as_str().unwrap_or_default())
        }
        (_, Some(average)) => format!("{name}: {}/{average}", current("averageValue")),
        (_, None) => {
            let now = status[field]["current"]["averageUtilization"].as_i64();
            let now = now.map_or_else(|| "<unknown>".to_owned(), |n| format!("{n}%"));
            let target = target["averageUtilization"].as_i64();
            let target = target.map_or_else(|| "<auto>".to_owned(), |n| format!("{n}%"));
            format!("{name}: {now}/{target}")
        }
    }
}

// === nodes ===

pub(super) fn node_status(node: &Value, _now: Timestamp) -> Value {
    let ready = list(at(node, ".status.conditions")).find(|c| c["type"] == "Ready");
    let mut status = match ready {
        None => "Unknown".to_owned(),
        Some(c) if c["status"] == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
    };
    if at(node, ".spec.unschedulable") == true {
        status += ",SchedulingDisabled";
    }
    Value::from(status)
}

pub(super) fn node_roles(node: &Value, _now: Timestamp) -> Value {
    let mut roles: Vec<&str> = Vec::new();
    for (label, value) in at(node, ".metadata.labels").as_object().into_iter().flatten() {
        if let Some(role) = label.strip_prefix("node-role.kubernetes.io/").filter(|r| !r.is_empty()) {
            roles.push(role);
        } else if label == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|r| !r.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    Value::from(or(&roles.join(","), "<none>"))
}

fn node_address(node: &Value, kind: &str) -> Value {
    let found = list(at(node, ".status.addresses")).find(|a| a["type"] == kind).and_then(|a| a["address"].as_str());
    Value::from(found.unwrap_or("<none>"))
}

pub(super) fn node_internal_ip(node: &Value, _now: Timestamp) -> Value {
    node_address(node, "InternalIP")
}

pub(super) fn node_external_ip(node: &Value, _now: Timestamp) -> Value {
    node_address(node, "ExternalIP")
}

pub(super) fn node_kernel(node: &Value, _now: Timestamp) -> Value {
    let info = |name: &str| text(node, &format!(".status.nodeInfo.{name}")).to_owned();
    let (kernel, architecture) = (info("kernelVersion"), info("architecture"));
    Value::from(match (kernel.as_str(), architecture.as_str()) {
        ("", _) => "<unknown>".to_owned(),
        (_, "") => kernel,
        _ => format!("{kernel} ({architecture})"),
    })
}

// === volumes ===

fn modes(modes: &Value) -> String {
    let mut out: Vec<&str> = Vec::new();
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    for (mode, text) in short {
        if list(modes).any(|m| m == mode) {
            out.push(text);
        }
    }
    out.join(",")
}

/// The phase, or `Terminating`.
pub(super) fn claim_phase(object: &Value, _now: Timestamp) -> Value {
    let deleted = !at(object, ".metadata.deletionTimestamp").is_null();
    Value::from(if deleted { "Terminating" } else { text(object, ".status.phase") })
}

pub(super) fn claim_capacity(claim: &Value, _now: Timestamp) -> Value {
    let bound = !text(claim, ".spec.volumeName").is_empty();
    Value::from(if bound { text(claim, ".status.capacity.storage") } else { "" })
}

pub(super) fn claim_modes(claim: &Value, _now: Timestamp) -> Value {
    let bound = !text(claim, ".spec.volumeName").is_empty();
    Value::from(if bound { modes(at(claim, ".status.accessModes")) } else { String::new() })
}

pub(super) fn volume_modes(volume: &Value, _now: Timestamp) -> Value {
    Value::from(modes(at(volume, ".spec.accessModes")))
}

pub(super) fn volume_claim(volume: &Value, _now: Timestamp) -> Value {
    let claim = at(volume, ".spec.claimRef");
    let part = |name: &str| claim[name].as_str().unwrap_or_default();
    Value::from(if claim.is_null() { String::new() } else { format!("{}/{}", part("namespace"), part("name")) })
}

/// The storage class of a claim or volume; an old annotation wins.
pub(super) fn storage_class(object: &Value, _now: Timestamp) -> Value {
    let annotation = at(object, ".metadata.annotations")["volume.beta.kubernetes.io/storage-class"].as_str();
    Value::from(annotation.unwrap_or_else(|| text(object, ".spec.storageClassName")))
}

pub(super) fn storage_class_name(class: &Value, _now: Timestamp) -> Value {
    let annotations = at(class, ".metadata.annotations");
    let default = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|name| annotations[*name] == "true");
    let name = text(class, ".metadata.name");
    Value::from(if default { format!("{name} (default)") } else { name.to_owned() })
}

// === quotas ===

fn quota(object: &Value, limits: bool) -> Value {
    let used = at(object, ".status.used");
    let parts: Vec<String> = at(object, ".status.hard")
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = used[name.as_str()].as_str().unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        })
        .collect();
    Value::from(parts.join(", "))
}

pub(super) fn quota_requests(object: &Value, _now: Timestamp) -> Value {
    quota(object, false)
}

pub(super) fn quota_limits(object: &Value, _now: Timestamp) -> Value {
    quota(object, true)
}

// === events ===

/// The first of some fields that is there: the two event APIs name them differently.
fn either<'a>(event: &'a Value, paths: &[&str]) -> &'a Value {
    paths.iter().map(|p| at(event, p)).find(|v| !v.is_null() && v.as_str() != Some("")).unwrap_or(&Value::Null)
}

pub(super) fn event_first(event: &Value, now: Timestamp) -> Value {
    Value::from(age(either(event, &[".firstTimestamp", ".deprecatedFirstTimestamp", ".eventTime"]), now))
}

pub(super) fn event_last(event: &Value, now: Timestamp) -> Value {
    let series = at(event, ".series.lastObservedTime");
    let paths =
        [".lastTimestamp", ".deprecatedLastTimestamp", ".firstTimestamp", ".deprecatedFirstTimestamp", ".eventTime"];
    Value::from(age(if series.is_null() { either(event, &paths) } else { series }, now))
}

fn event_target<'a>(event: &'a Value, field: &str) -> &'a str {
    let old = at(event, ".involvedObject");
    let target = if old.is_null() { at(event, ".regarding") } else { old };
    target[field].as_str().unwrap_or_default()
}

pub(super) fn event_object(event: &Value, _now: Timestamp) -> Value {
    let kind = event_target(event, "kind").to_lowercase();
    let name = event_target(event, "name");
    Value::from(if name.is_empty() { kind } else { format!("{kind}/{name}") })
}

pub(super) fn event_subobject(event: &Value, _now: Timestamp) -> Value {
    Value::from(event_target(event, "fieldPath"))
}

pub(super) fn event_source(event: &Value, _now: Timestamp) -> Value {
    let component = either(event, &[".source.component", ".deprecatedSource.component"]).as_str().unwrap_or_default();
    let host = either(event, &[".source.host", ".deprecatedSource.host"]).as_str().unwrap_or_default();
    let (component, host) = if component.is_empty() {
        let controller = either(event, &[".reportingController", ".reportingComponent"]).as_str().unwrap_or_default();
        (controller, text(event, ".reportingInstance"))
    } else {
        (component, host)
    };
    Value::from(if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") })
}

pub(super) fn event_message(event: &Value, _now: Timestamp) -> Value {
    Value::from(either(event, &[".message", ".note"]).as_str().unwrap_or_default().trim())
}

pub(super) fn event_count(event: &Value, _now: Timestamp) -> Value {
    let series = at(event, ".series.count").as_i64();
    let count = series.or_else(|| either(event, &[".count", ".deprecatedCount"]).as_i64()).unwrap_or(0);
    Value::from(count.max(1))
}

// === namespaced helpers of other kinds ===

pub(super) fn claim_state(claim: &Value, _now: Timestamp) -> Value {
    let deleted = !at(claim, ".metadata.deletionTimestamp").is_null();
    let mut states: Vec<&str> = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if at(claim, ".status.allocation").is_null() {
        if !deleted {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if list(at(claim, ".status.reservedFor")).next().is_some() {
            states.push("reserved");
        }
    }
    Value::from(states.join(","))
}
