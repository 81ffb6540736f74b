//! Conditions, statuses, events.

use api_types::k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use super::{
    super::{
        decide::{self, Course, Decision, Draft, Facts, Sizes},
        limits::Memory,
        metrics::Sample,
    },
    cpu_sample, now, pods, same_pods, settings,
};

fn scaler(spec: Value) -> HorizontalPodAutoscaler {
    let mut object = json!({"metadata": {"name": "web", "namespace": "ns"}, "spec": {"minReplicas": 2, "maxReplicas": 10,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn cpu(percent: i32) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
}

fn queue(target: Value) -> Value {
    let metric = json!({"name": "queue", "selector": {"matchLabels": {"q": "a"}}});
    json!({"type": "External", "external": {"metric": metric, "target": target}})
}

struct Outcome {
    decision: Decision,
    status: Value,
}

impl Outcome {
    /// `Type=status reason`.
    fn conditions(&self) -> Vec<String> {
        let text = |c: &Value, name: &str| c[name].as_str().unwrap_or_default().to_owned();
        let all = self.status["conditions"].as_array().unwrap().iter();
        all.map(|c| format!("{}={} {}", text(c, "type"), text(c, "status"), text(c, "reason"))).collect()
    }

    fn notes(&self) -> Vec<String> {
        self.decision.notes.iter().map(|note| format!("{}: {}", note.reason, note.message)).collect()
    }

    fn rescale(&self) -> Option<(i32, &str)> {
        self.decision.rescale.as_ref().map(|(replicas, reason)| (*replicas, reason.as_str()))
    }
}

/// Decides about `current` pods, each of which requests one CPU.
fn decide(scaler: &HorizontalPodAutoscaler, current: i32, samples: Vec<Result<Sample, String>>) -> Outcome {
    let settings = settings();
    let mut draft = Draft::new(scaler, now());
    let facts = Facts {
        namespace: "ns",
        spec: &scaler.spec,
        sizes: Sizes { spec: current, status: current },
        pods: pods(same_pods(usize::try_from(current).unwrap(), "1")),
        settings: &settings,
        now: now(),
    };
    let mut memory = Memory::default();
    let decision = match decide::course(&scaler.spec, current) {
        Course::Metrics => facts.decide_by_metrics(samples, &mut memory, &mut draft),
        course => facts.decide_by_bounds(&course, &mut draft),
    };
    Outcome { decision, status: serde_json::to_value(&draft.status).unwrap() }
}

#[test]
fn a_busy_target_grows() {
    let outcome = decide(&scaler(json!({"metrics": [cpu(50)]})), 3, vec![cpu_sample(&["700m"; 3])]);
    assert_eq!(outcome.rescale(), Some((5, "cpu resource utilization (percentage of request) above target")));
    assert_eq!(
        outcome.conditions(),
        [
            "ScalingActive=True ValidMetricFound",
            "AbleToScale=True ReadyForNewScale",
            "ScalingLimited=False DesiredWithinRange"
        ]
    );
    assert_eq!((&outcome.status["currentReplicas"], &outcome.status["desiredReplicas"]), (&json!(3), &json!(5)));
    let current = json!({"averageUtilization": 70, "averageValue": "700m"});
    assert_eq!(
        outcome.status["currentMetrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}])
    );
}

#[test]
fn bounds_come_before_metrics() {
    let spec = scaler(json!({"metrics": [cpu(50)]}));
    for (current, want) in [
        (12, Some((10, "Current number of replicas above Spec.MaxReplicas"))),
        (1, Some((2, "Current number of replicas below Spec.MinReplicas"))),
        (0, None),
    ] {
        assert_eq!(decide(&spec, current, vec![]).rescale(), want, "{current}");
    }
    assert_eq!(decide(&spec, 0, vec![]).conditions(), ["ScalingActive=False ScalingDisabled"]);
}

#[test]
fn the_metric_that_asks_for_most_decides() {
    let spec = scaler(json!({"metrics": [cpu(50), queue(json!({"type": "AverageValue", "averageValue": "10"}))]}));
    let outcome = decide(&spec, 3, vec![cpu_sample(&["700m"; 3]), Ok(Sample::Total(55_000))]);
    let name = "external metric queue(&LabelSelector{MatchLabels:map[string]string{q: a,},\
                MatchExpressions:[]LabelSelectorRequirement{},}) above target";
    assert_eq!(outcome.rescale(), Some((6, name)));
    assert_eq!(outcome.status["currentMetrics"][1]["external"]["current"], json!({"averageValue": "18334m"}));
    let outcome = decide(&spec, 3, vec![cpu_sample(&["100m"; 3]), Ok(Sample::Total(10_000))]);
    assert_eq!(outcome.rescale(), Some((2, "All metrics below target")));
}

#[test]
fn without_a_metric_nothing_shrinks() {
    let spec = scaler(json!({"metrics": [cpu(50), queue(json!({"type": "Value", "value": "10"}))]}));
    let why = || Err("unable to fetch metrics from external metrics API: it is away".to_owned());
    // The other metric asks for more, so it is followed.
    let up = decide(&spec, 3, vec![cpu_sample(&["700m"; 3]), why()]);
    assert_eq!(up.rescale().unwrap().0, 5);
    let selector =
        "&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}";
    let message = format!(
        "unable to get external metric ns/queue/{selector}: unable to fetch metrics from external metrics API: it is away"
    );
    assert_eq!(up.notes(), [format!("FailedGetExternalMetric: {message}")]);
    // It asks for less: nothing is done.
    let down = decide(&spec, 3, vec![cpu_sample(&["100m"; 3]), why()]);
    assert_eq!(down.rescale(), None);
    assert_eq!(down.conditions(), ["ScalingActive=False FailedGetExternalMetric"]);
    assert_eq!(
        down.notes()[1],
        format!(
            "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get queue \
             external metric value: failed to get external metric queue: {message}"
        )
    );
    assert_eq!(
        down.status["conditions"][0]["message"],
        format!("the HPA was unable to compute the replica count: {message}")
    );
    assert_eq!(down.status["currentMetrics"][1], json!({"type": ""}));
}

#[test]
fn a_behavior_may_have_its_own_tolerance() {
    let rules = |tolerance: &str| {
        json!({"tolerance": tolerance, "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]})
    };
    let behavior = json!({"scaleUp": rules("0.01"), "scaleDown": rules("0.5")});
    let spec = scaler(json!({"metrics": [cpu(50)], "behavior": behavior}));
    assert_eq!(decide(&spec, 4, vec![cpu_sample(&["520m"; 4])]).rescale().map(|(to, _)| to), Some(5));
    assert_eq!(decide(&spec, 4, vec![cpu_sample(&["300m"; 4])]).rescale(), None);
    let plain = scaler(json!({"metrics": [cpu(50)]}));
    assert_eq!(decide(&plain, 4, vec![cpu_sample(&["520m"; 4])]).rescale(), None);
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let mut spec = scaler(json!({"metrics": [cpu(50)]}));
    let earlier = json!({"desiredReplicas": 3, "conditions": [
        {"type": "ScalingActive", "status": "True", "reason": "Old", "lastTransitionTime": "2025-01-01T00:00:00Z"},
        {"type": "ScalingLimited", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]});
    spec.status = Some(serde_json::from_value(earlier).unwrap());
    let outcome = decide(&spec, 3, vec![cpu_sample(&["500m"; 3])]);
    let times: Vec<_> =
        outcome.status["conditions"].as_array().unwrap().iter().map(|c| &c["lastTransitionTime"]).collect();
    assert_eq!(times, ["2025-01-01T00:00:00Z", super::NOW, super::NOW]);
}

#[test]
fn memory_is_told_in_powers_of_two() {
    let target = json!({"type": "AverageValue", "averageValue": "64Mi"});
    let spec = scaler(json!({"metrics": [{"type": "Resource", "resource": {"name": "memory", "target": target}}]}));
    for (usage, want) in [("100Mi", "100Mi"), ("1000", "1k"), ("1500500m", "1500500m")] {
        let outcome = decide(&spec, 3, vec![cpu_sample(&[usage; 3])]);
        assert_eq!(outcome.status["currentMetrics"][0]["resource"]["current"]["averageValue"], want);
    }
}
