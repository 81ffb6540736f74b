//! VolumeAttributesClass: mutable parameters of volumes.

use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { validate, validate_change, ..Kind::CLUSTER };

fn validate(class: &Field, errors: &mut Errors) {
    let driver = class.get("driverName");
    if driver.str().is_empty() {
        errors.required(&driver, "");
    } else {
        for message in crate::names::qualified_name(&driver.str().to_lowercase()) {
            errors.invalid(&driver, message);
        }
    }
    if class.get("parameters").is_empty() {
        errors.required(&class.get("parameters"), "must contain at least one key/value pair");
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    for name in ["driverName", "parameters"] {
        crate::checks::immutable(&new.get(name), &old.get(name), errors);
    }
}
