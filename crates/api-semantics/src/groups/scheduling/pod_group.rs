//! PodGroup: pods that are scheduled together.

use crate::checks::{IMMUTABLE, required_name, same};
use crate::defaults::ensure;
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::names;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default: |o| {
        ensure(o, "status");
    },
    validate_create,
    validate_change,
    labels_validated: 3,
    ..Kind::PLAIN
};

fn validate_create(group: &Field, errors: &mut Errors) {
    let spec = group.get("spec");
    let template = spec.dig("podGroupTemplateRef.workload");
    if template.exists() {
        required_name(&template.get("workloadName"), names::dns1123_subdomain, errors);
        required_name(&template.get("podGroupTemplateName"), names::dns1123_label, errors);
    }
    policy(&spec.get("schedulingPolicy"), errors);
}

/// Exactly one way of scheduling; a gang has a size.
pub(super) fn policy(policy: &Field, errors: &mut Errors) {
    match (policy.has("basic"), policy.has("gang")) {
        (false, false) => errors.invalid_as(policy, "", "must specify one of: `basic`, `gang`"),
        (true, true) => errors.invalid_as(
            policy,
            "{`basic`, `gang`}",
            "exactly one of `basic`, `gang` is required, but multiple fields are set",
        ),
        (true, false) => {}
        (false, true) => {
            let count = policy.dig("gang.minCount");
            if count.int_or_zero() == 0 {
                errors.required(&count, "");
            } else {
                crate::checks::positive(&count, errors);
            }
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let spec = new.get("spec");
    for name in ["podGroupTemplateRef", "schedulingPolicy", "schedulingConstraints", "resourceClaims", "disruptionMode"]
    {
        if !same(&spec.get(name), &old.get("spec").get(name)) {
            errors.invalid(&spec.get(name), IMMUTABLE);
        }
    }
}
