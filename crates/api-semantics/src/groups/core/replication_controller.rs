//! ReplicationController: keeps a number of pods running.

use serde_json::{Value, json};

use crate::checks::non_negative;
use crate::defaults::{ensure, map_at, set, set_zero};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(|| json!({"replicas": 0})),
    default,
    validate,
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(rc: &mut Value) {
    let labels = map_at(rc, "spec.template.metadata.labels");
    let spec = ensure(rc, "spec");
    set(spec, "replicas", 1);
    crate::defaults::within(spec, "template", crate::pod::defaults::pod_template);
    if !labels.is_empty() {
        set_zero(spec, "selector", labels.clone());
        set_zero(ensure(rc, "metadata"), "labels", labels);
    }
    set(ensure(rc, "status"), "replicas", 0);
}

fn validate(rc: &Field, errors: &mut Errors) {
    let spec = rc.get("spec");
    non_negative(&spec.get("minReadySeconds"), errors);
    let selector = spec.get("selector");
    if selector.is_empty() {
        errors.required(&selector, "");
    }
    non_negative(&spec.get("replicas"), errors);
    let template = spec.get("template");
    if !template.exists() {
        errors.required(&template, "");
        return;
    }
    if !selector.is_empty() {
        let labels = template.dig("metadata.labels");
        let matched = selector.entries().all(|(k, v)| labels.value().get(k) == Some(v.value()));
        if !matched {
            errors.invalid(&labels, "`selector` does not match template `labels`");
        }
    }
    crate::pod::pod_template(&template, errors);
    let policy = template.dig("spec.restartPolicy");
    if policy.str() != "Always" {
        errors.not_supported(&policy, &["Always"]);
    }
    let deadline = template.dig("spec.activeDeadlineSeconds");
    if deadline.exists() {
        errors.forbidden(&deadline, "activeDeadlineSeconds in ReplicationController is not Supported");
    }
}
