//! HorizontalPodAutoscaler (v2): scales by metrics.

use serde_json::{Value, json};

use crate::defaults::{ensure, set, within};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"desiredReplicas": 0, "currentMetrics": null})),
    default: default_v2,
    validate: super::hpa_validation::validate,
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default_v2(scaler: &mut Value) {
    let status = ensure(scaler, "status");
    set(status, "desiredReplicas", 0);
    let spec = ensure(scaler, "spec");
    set(spec, "minReplicas", 1);
    crate::defaults::set_zero(
        spec,
        "metrics",
        json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]),
    );
    within(spec, "behavior", behavior);
}

fn behavior(behavior: &mut Value) {
    ensure(behavior, "scaleUp");
    ensure(behavior, "scaleDown");
    within(behavior, "scaleUp", |rules| {
        set(rules, "stabilizationWindowSeconds", 0);
        set(rules, "selectPolicy", "Max");
        set(
            rules,
            "policies",
            json!([
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]),
        );
    });
    within(behavior, "scaleDown", |rules| {
        set(rules, "selectPolicy", "Max");
        set(rules, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    });
}
