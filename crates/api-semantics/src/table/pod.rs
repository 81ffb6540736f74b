//! Cells of pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::{at, human_duration, list, or, text};

/// What a pod's containers add up to.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

pub(super) fn ready(pod: &Value, _now: Timestamp) -> Value {
    let summary = summary(pod);
    Value::from(format!("{}/{}", summary.ready, summary.total))
}

pub(super) fn status(pod: &Value, _now: Timestamp) -> Value {
    Value::from(summary(pod).reason)
}

pub(super) fn restarts(pod: &Value, now: Timestamp) -> Value {
    let summary = summary(pod);
    match summary.last_restart {
        Some(last) if summary.restarts > 0 => {
            let ago = human_duration(now.as_second() - last.as_second());
            Value::from(format!("{} ({ago} ago)", summary.restarts))
        }
        _ => Value::from(summary.restarts.to_string()),
    }
}

pub(super) fn ip(pod: &Value, _now: Timestamp) -> Value {
    let first = list(at(pod, ".status.podIPs")).find_map(|ip| ip["ip"].as_str());
    Value::from(or(first.unwrap_or_else(|| text(pod, ".status.podIP")), "<none>"))
}

pub(super) fn gates(pod: &Value, _now: Timestamp) -> Value {
    let gates: Vec<&Value> = list(at(pod, ".spec.readinessGates")).collect();
    if gates.is_empty() {
        return Value::from("<none>");
    }
    let met = gates.iter().filter(|g| has_condition(pod, g["conditionType"].as_str().unwrap_or_default())).count();
    Value::from(format!("{met}/{}", gates.len()))
}

/// Finished pods carry a condition that clients sort and filter by.
pub(super) fn row_conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match text(pod, ".status.phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn has_condition(pod: &Value, name: &str) -> bool {
    list(at(pod, ".status.conditions")).any(|c| c["type"] == name && c["status"] == "True")
}

fn summary(pod: &Value) -> Summary {
    let status_reason = text(pod, ".status.reason");
    let mut out = Summary {
        ready: 0,
        total: list(at(pod, ".spec.containers")).count(),
        reason: or(status_reason, text(pod, ".status.phase")).to_owned(),
        restarts: 0,
        last_restart: None,
    };
    let gated = |c: &Value| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated";
    if list(at(pod, ".status.conditions")).any(gated) {
        out.reason = "SchedulingGated".to_owned();
    }
    let sidecars = list(at(pod, ".spec.initContainers")).filter(|c| c["restartPolicy"] == "Always").count();
    out.total += sidecars;
    let initializing = init_containers(pod, &mut out);
    if !initializing || has_condition(pod, "Initialized") {
        containers(pod, &mut out);
    }
    if !at(pod, ".metadata.deletionTimestamp").is_null() {
        if status_reason == "NodeLost" {
            out.reason = "Unknown".to_owned();
        } else if !matches!(text(pod, ".status.phase"), "Succeeded" | "Failed") {
            out.reason = "Terminating".to_owned();
        }
    }
    out
}

fn is_sidecar(pod: &Value, name: &Value) -> bool {
    list(at(pod, ".spec.initContainers")).any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
}

/// Goes through the init containers up to the first that is not done; whether there is one.
fn init_containers(pod: &Value, out: &mut Summary) -> bool {
    let total = list(at(pod, ".spec.initContainers")).count();
    let mut sidecar_restarts = (0, None);
    let mut initializing = false;
    for (index, status) in list(at(pod, ".status.initContainerStatuses")).enumerate() {
        count_restarts(status, &mut out.restarts, &mut out.last_restart);
        let sidecar = is_sidecar(pod, &status["name"]);
        if sidecar {
            count_restarts(status, &mut sidecar_restarts.0, &mut sidecar_restarts.1);
        }
        let terminated = &status["state"]["terminated"];
        let waiting = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
        if terminated["exitCode"] == 0 {
            continue;
        }
        if sidecar && status["started"] == true {
            out.ready += usize::from(status["ready"] == true);
            continue;
        }
        out.reason = if !terminated.is_null() {
            format!("Init:{}", termination(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        };
        initializing = true;
        break;
    }
    if !initializing || has_condition(pod, "Initialized") {
        (out.restarts, out.last_restart) = sidecar_restarts;
    }
    initializing
}

fn containers(pod: &Value, out: &mut Summary) {
    let mut running = false;
    let statuses: Vec<&Value> = list(at(pod, ".status.containerStatuses")).collect();
    for status in statuses.into_iter().rev() {
        count_restarts(status, &mut out.restarts, &mut out.last_restart);
        let (waiting, terminated) = (&status["state"]["waiting"], &status["state"]["terminated"]);
        let waiting_reason = waiting["reason"].as_str().unwrap_or_default();
        if !waiting_reason.is_empty() {
            out.reason = waiting_reason.to_owned();
        } else if !terminated.is_null() {
            out.reason = termination(terminated);
        } else if status["ready"] == true && !status["state"]["running"].is_null() {
            running = true;
            out.ready += 1;
        }
    }
    if out.reason == "Completed" && running {
        let ready = has_condition(pod, "Ready");
        out.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn termination(terminated: &Value) -> String {
    match (terminated["reason"].as_str().unwrap_or_default(), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn count_restarts(status: &Value, restarts: &mut i64, last: &mut Option<Timestamp>) {
    *restarts += status["restartCount"].as_i64().unwrap_or(0);
    let finished = status["lastState"]["terminated"]["finishedAt"].as_str();
    if let Some(finished) = finished.and_then(|t| api_types::time::parse(t).ok()) {
        *last = Some(last.map_or(finished, |l| l.max(finished)));
    }
}
