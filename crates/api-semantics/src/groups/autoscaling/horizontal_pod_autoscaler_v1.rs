//! HorizontalPodAutoscaler (v1): scales by CPU.

use serde_json::{Value, json};

use crate::defaults::{ensure, set};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"currentReplicas": 0, "desiredReplicas": 0})),
    default,
    validate: validate_as_v2,
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(scaler: &mut Value) {
    let has_metrics = !scaler["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_null();
    let status = ensure(scaler, "status");
    set(status, "currentReplicas", 0);
    set(status, "desiredReplicas", 0);
    let spec = ensure(scaler, "spec");
    set(spec, "minReplicas", 1);
    // Metrics of version 2 stand in an annotation; with them there is no default target.
    if !has_metrics {
        set(spec, "targetCPUUtilizationPercentage", 80);
    }
}

/// Upstream validates the newer form, and its paths show.
fn validate_as_v2(scaler: &Field, errors: &mut Errors) {
    let (from, to) = (("autoscaling", "v1"), ("autoscaling", "v2"));
    let converted = crate::convert::convert("HorizontalPodAutoscaler", from, to, scaler.value().clone());
    super::hpa_validation::validate(&Field::root(&converted), errors);
}
