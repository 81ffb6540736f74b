//! RuntimeClass: which container runtime handler runs a pod.

use api_types::{FieldError, FieldErrorKind};
use std::collections::BTreeSet;

use crate::defaults::within;
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::{go, names};

pub(crate) static KIND: Kind = Kind {
    default: |o| within(o, "overhead.podFixed", crate::quantity::round_list),
    unconditional_update: false,
    validate,
    validate_change,
    ..Kind::CLUSTER
};

fn validate(class: &Field, errors: &mut Errors) {
    crate::checks::required_name(&class.get("handler"), names::dns1123_label, errors);
    for (name, amount) in class.dig("overhead.podFixed").entries() {
        crate::pod::resource_name(name, &amount, errors);
        crate::pod::amount(name, &amount, errors);
    }
    let scheduling = class.get("scheduling");
    crate::object_meta::labels(&scheduling.get("nodeSelector"), errors);
    let tolerations = scheduling.get("tolerations");
    crate::pod::tolerations(&tolerations, errors);
    let mut seen = BTreeSet::new();
    for toleration in tolerations.items() {
        let shown = go::shown(&toleration, &["key", "operator", "value", "effect", "tolerationSeconds*"]);
        if !seen.insert(shown.clone()) {
            let message = format!("Duplicate value: {shown}");
            errors.push(FieldError { kind: FieldErrorKind::Duplicate, field: toleration.path().clone(), message });
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    crate::checks::immutable(&new.get("handler"), &old.get("handler"), errors);
}
