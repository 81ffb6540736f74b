//! Horizontal pod autoscalers: v1 says one CPU target; everything else of v2 lives in annotations there.

use serde_json::{Map, Value, json};

use crate::defaults::{drop_key, ensure};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

pub(super) fn to_v2(scaler: &mut Value) {
    let spec = ensure(scaler, "spec");
    // A pointer: zero is a wish, and a wrong one.
    let cpu = spec.as_object_mut().and_then(|s| s.remove("targetCPUUtilizationPercentage")).filter(|v| !v.is_null());
    let mut metrics: Vec<Value> = Vec::new();
    if let Some(cpu) = cpu {
        metrics.push(cpu_metric(json!({"target": {"type": "Utilization", "averageUtilization": cpu}})));
    }
    let status = ensure(scaler, "status");
    let current_cpu = take(status, "currentCPUUtilizationPercentage");
    let mut current: Vec<Value> = Vec::new();
    if let Some(cpu) = current_cpu {
        current.push(cpu_metric(json!({"current": {"averageUtilization": cpu}})));
    }
    if let Some(Value::Array(more)) = annotation(scaler, METRICS) {
        metrics.extend(more.iter().map(|m| metric_to_v2(m, false)));
    }
    if let Some(Value::Array(more)) = annotation(scaler, CURRENT) {
        current.extend(more.iter().map(|m| metric_to_v2(m, true)));
    }
    if let Some(behavior) = annotation(scaler, BEHAVIOR) {
        scaler["spec"]["behavior"] = behavior;
    }
    if let Some(conditions) = annotation(scaler, CONDITIONS) {
        scaler["status"]["conditions"] = conditions;
    }
    if !metrics.is_empty() {
        scaler["spec"]["metrics"] = Value::Array(metrics);
    }
    scaler["status"]["currentMetrics"] = if current.is_empty() { Value::Null } else { Value::Array(current) };
    drop_empty_annotations(scaler);
}

pub(super) fn to_v1(scaler: &mut Value) {
    let mut kept = Map::new();
    let spec = ensure(scaler, "spec");
    let (mut others, mut cpu) = (Vec::new(), None);
    for metric in list(take(spec, "metrics")) {
        let share = metric["resource"]["target"]["averageUtilization"].clone();
        if cpu.is_none() && is_cpu(&metric) && !share.is_null() {
            cpu = Some(share);
        } else {
            others.push(metric_to_v1(&metric, false));
        }
    }
    if let Some(cpu) = cpu {
        spec["targetCPUUtilizationPercentage"] = cpu;
    }
    if let Some(behavior) = take(spec, "behavior") {
        kept.insert(BEHAVIOR.to_owned(), behavior);
    }
    if !others.is_empty() {
        kept.insert(METRICS.to_owned(), Value::Array(others));
    }
    let status = ensure(scaler, "status");
    let current = list(take(status, "currentMetrics"));
    if let Some(first) = current.iter().find(|m| is_cpu(m)) {
        let share = first["resource"]["current"]["averageUtilization"].clone();
        if !share.is_null() {
            status["currentCPUUtilizationPercentage"] = share;
        }
    }
    if !current.is_empty() {
        let all = current.iter().map(|m| metric_to_v1(m, true)).collect();
        kept.insert(CURRENT.to_owned(), Value::Array(all));
    }
    if let Some(conditions) = take(status, "conditions") {
        kept.insert(CONDITIONS.to_owned(), conditions);
    }
    if !kept.is_empty() {
        let annotations = ensure(ensure(scaler, "metadata"), "annotations");
        for (key, value) in kept {
            annotations[key] = Value::String(value.to_string());
        }
    }
}

fn take(object: &mut Value, key: &str) -> Option<Value> {
    object.as_object_mut()?.remove(key).filter(|v| !crate::field::is_zero(v))
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

fn cpu_metric(mut resource: Value) -> Value {
    resource["name"] = json!("cpu");
    json!({"type": "Resource", "resource": resource})
}

/// Takes an annotation's JSON; text that is none is dropped, as upstream does.
fn annotation(scaler: &mut Value, key: &str) -> Option<Value> {
    let annotations = scaler.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn drop_empty_annotations(scaler: &mut Value) {
    let empty = scaler["metadata"]["annotations"].as_object().is_some_and(Map::is_empty);
    if empty {
        drop_key(&mut scaler["metadata"], "annotations");
    }
}

/// How v1 and v2 call the parts of a metric source: (v1 key, path in v2), for targets and for current values.
fn parts(source: &str, current: bool) -> Vec<(&'static str, &'static str)> {
    let amounts: &[(&str, &str)] = match (source, current) {
        ("resource" | "containerResource", false) => {
            &[("targetAverageUtilization", "target.averageUtilization"), ("targetAverageValue", "target.averageValue")]
        }
        ("resource" | "containerResource", true) => &[
            ("currentAverageUtilization", "current.averageUtilization"),
            ("currentAverageValue", "current.averageValue"),
        ],
        ("pods", false) => &[("targetAverageValue", "target.averageValue")],
        ("pods", true) => &[("currentAverageValue", "current.averageValue")],
        ("object", false) => &[("targetValue", "target.value"), ("averageValue", "target.averageValue")],
        ("object", true) => &[("currentValue", "current.value"), ("averageValue", "current.averageValue")],
        (_, false) => &[("targetValue", "target.value"), ("targetAverageValue", "target.averageValue")],
        (_, true) => &[("currentValue", "current.value"), ("currentAverageValue", "current.averageValue")],
    };
    let names: &[(&str, &str)] = match source {
        "resource" => &[("name", "name")],
        "containerResource" => &[("name", "name"), ("container", "container")],
        "external" => &[("metricName", "metric.name"), ("metricSelector", "metric.selector")],
        "object" => &[("metricName", "metric.name"), ("selector", "metric.selector"), ("target", "describedObject")],
        _ => &[("metricName", "metric.name"), ("selector", "metric.selector")],
    };
    names.iter().chain(amounts).copied().collect()
}

const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

fn metric_to_v2(metric: &Value, current: bool) -> Value {
    let mut out = json!({"type": metric["type"]});
    for source in SOURCES.iter().filter(|s| metric[**s].is_object()) {
        let mut converted = json!({});
        for (old, path) in parts(source, current) {
            let value = &metric[*source][old];
            // v1 writes a zero amount where v2 has none.
            if value.is_null() || (path.starts_with("target.") && *value == json!("0")) {
                continue;
            }
            put(&mut converted, path, value.clone());
        }
        if !current {
            let kind = match &converted["target"] {
                t if !t["averageUtilization"].is_null() => "Utilization",
                t if !t["averageValue"].is_null() => "AverageValue",
                _ => "Value",
            };
            ensure(&mut converted, "target")["type"] = json!(kind);
        }
        out[*source] = converted;
    }
    out
}

fn metric_to_v1(metric: &Value, current: bool) -> Value {
    let mut out = json!({"type": metric["type"]});
    for source in SOURCES.iter().filter(|s| metric[**s].is_object()) {
        let mut converted = json!({});
        for (old, path) in parts(source, current) {
            let value = path.split('.').fold(&metric[*source], |at, name| &at[name]);
            if !value.is_null() {
                converted[old] = value.clone();
            }
        }
        if *source == "object" {
            // Plain fields of v1.
            let amount = if current { "currentValue" } else { "targetValue" };
            crate::defaults::set(&mut converted, amount, "0");
        }
        out[*source] = converted;
    }
    out
}

fn put(object: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => put(ensure(object, first), rest, value),
        None => object[path] = value,
    }
}
