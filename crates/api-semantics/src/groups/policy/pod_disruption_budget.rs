//! PodDisruptionBudget: how many pods may be evicted at a time.

use serde_json::{Value, json};

use crate::checks::{at_most_100_percent, count_or_percent, optional_one_of};
use crate::defaults::{ensure, fill};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(initial_status),
    default,
    validate,
    unconditional_update: false,
    name: crate::object_meta::path_segment,
    ..Kind::PLAIN
};

fn initial_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

fn default(budget: &mut Value) {
    ensure(budget, "spec");
    if let Value::Object(zero) = initial_status() {
        fill(ensure(budget, "status"), &zero);
    }
}

fn validate(budget: &Field, errors: &mut Errors) {
    let spec = budget.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.exists() && most.exists() {
        errors.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in [&least, &most] {
        if field.exists() {
            count_or_percent(field, errors);
            at_most_100_percent(field, errors);
        }
    }
    crate::selectors::validate(&spec.get("selector"), errors);
    optional_one_of(&spec.get("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"], errors);
}
