//! ControllerRevision: a snapshot of a controller's template.

use crate::checks::{IMMUTABLE, non_negative};
use crate::defaults::set;
use crate::field::{Errors, Field};
use crate::kind::Kind;

pub(crate) static KIND: Kind =
    Kind { default: |o| set(o, "revision", 0), validate_create, validate_change, ..Kind::PLAIN };

fn validate_create(revision: &Field, errors: &mut Errors) {
    if !revision.has("data") {
        errors.required(&revision.get("data"), "data is mandatory");
    }
    non_negative(&revision.get("revision"), errors);
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    non_negative(&new.get("revision"), errors);
    let data = new.get("data");
    if data.value() != old.get("data").value() {
        errors.invalid(&data, IMMUTABLE);
    }
}
