//! PodDisruptionBudget: how many pods may be evicted at a time.

use serde_json::{Value, json};

use crate::defaults::{ensure, fill};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(initial_status), default, ..Kind::PLAIN };

fn initial_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

fn default(budget: &mut Value) {
    ensure(budget, "spec");
    if let Value::Object(zero) = initial_status() {
        fill(ensure(budget, "status"), &zero);
    }
}
