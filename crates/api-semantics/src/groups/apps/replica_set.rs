//! ReplicaSet: keeps a number of identical pods running.

use serde_json::{Value, json};

use crate::checks::non_negative;
use crate::defaults::{ensure, set};
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(|| json!({"replicas": 0})),
    default,
    validate,
    validate_change: super::immutable_selector,
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(set_: &mut Value) {
    set(ensure(set_, "status"), "replicas", 0);
    let spec = ensure(set_, "spec");
    set(spec, "replicas", 1);
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

fn validate(replicas: &Field, errors: &mut Errors) {
    let spec = replicas.get("spec");
    non_negative(&spec.get("replicas"), errors);
    non_negative(&spec.get("minReadySeconds"), errors);
    super::selected_template(&spec, "deployment", errors);
}
