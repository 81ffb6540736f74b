//! HorizontalPodAutoscaler (v1): scales by CPU.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"currentReplicas": 0, "desiredReplicas": 0})),
    default,
    validate: super::hpa_validation::validate,
    ..Kind::PLAIN
};

fn default(scaler: &mut Value) {
    let status = ensure(scaler, "status");
    set(status, "currentReplicas", 0);
    set(status, "desiredReplicas", 0);
    let spec = ensure(scaler, "spec");
    set(spec, "minReplicas", 1);
    if !crate::defaults::has(spec, "targetCPUUtilizationPercentage") {
        set(spec, "targetCPUUtilizationPercentage", 80);
    }
}
