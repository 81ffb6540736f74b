//! Autoscaling: figures of upstream's documentation and tests.

mod calculator;
mod client;
mod decide;
mod limits;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use serde_json::{Value, json};

use super::metrics::{PodMetricsList, Sample};
use crate::config::Autoscaling;

const NOW: &str = "2026-01-01T10:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn settings() -> Autoscaling {
    Autoscaling {
        sync_period: Duration::from_secs(15),
        downscale_stabilization: Duration::from_secs(300),
        tolerance: 0.1,
        cpu_initialization_period: Duration::from_secs(300),
        initial_readiness_delay: Duration::from_secs(30),
    }
}

/// A pod of an hour, ready, that requests this much CPU.
fn pod(name: &str, cpu: &str) -> Value {
    let hour_ago = "2026-01-01T09:00:00Z";
    json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": "Running", "startTime": hour_ago,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": hour_ago}]}})
}

fn pods(values: Vec<Value>) -> Vec<Arc<Pod>> {
    values.into_iter().map(|pod| Arc::new(serde_json::from_value(pod).unwrap())).collect()
}

/// So many pods `pod-0`, ..., each requesting this much.
fn same_pods(count: usize, cpu: &str) -> Vec<Value> {
    (0..count).map(|number| pod(&format!("pod-{number}"), cpu)).collect()
}

/// What the resource metrics API answers: CPU of `pod-0`, `pod-1`, ...; none where it is empty.
fn metrics(usage: &[&str]) -> PodMetricsList {
    let item = |(number, cpu): (usize, &&str)| {
        let containers = json!([{"name": "main", "usage": {"cpu": cpu}}]);
        json!({"metadata": {"name": format!("pod-{number}"), "namespace": "ns"}, "timestamp": NOW, "window": "30s",
            "containers": containers})
    };
    let items: Vec<_> = usage.iter().enumerate().filter(|(_, cpu)| !cpu.is_empty()).map(item).collect();
    serde_json::from_value(json!({"items": items})).unwrap()
}

fn cpu_sample(usage: &[&str]) -> Result<Sample, String> {
    metrics(usage).usage("cpu", None).map(Sample::Pods)
}
