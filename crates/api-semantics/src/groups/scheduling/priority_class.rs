//! PriorityClass: how important pods are.

use serde_json::Value;

use crate::defaults::set;
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    bumps_generation: |_, _| false,
    default,
    validate_create,
    validate_change,
    ..Kind::CLUSTER
};

fn default(class: &mut Value) {
    set(class, "value", 0);
    set(class, "preemptionPolicy", "PreemptLowerPriority");
}

/// Beyond this, priorities are the system's own.
const HIGHEST: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

fn validate_create(class: &Field, errors: &mut Errors) {
    let name = class.get("metadata").get("name");
    let value = class.get("value");
    if name.str().starts_with("system-") {
        let known = SYSTEM.iter().any(|(n, v)| *n == name.str() && *v == value.int_or_zero());
        if !known {
            errors.forbidden(
                &name,
                "priority class names with 'system-' prefix are reserved for system use only. error: system priority class name is not known",
            );
        }
    } else if value.int_or_zero() > HIGHEST {
        errors.forbidden(&value, format!("maximum allowed value of a user defined priority is {HIGHEST}"));
    }
    let policy = class.get("preemptionPolicy");
    if policy.exists() {
        if policy.str().is_empty() {
            errors.required(&policy, "");
        } else {
            crate::checks::one_of(&policy, &["PreemptLowerPriority", "Never"], errors);
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let value = new.get("value");
    if value.int_or_zero() != old.get("value").int_or_zero() {
        errors.forbidden(&value, "may not be changed in an update.");
    }
    crate::checks::immutable(&new.get("preemptionPolicy"), &old.get("preemptionPolicy"), errors);
}
