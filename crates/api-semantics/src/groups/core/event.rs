//! Event (core): a report of something that happened.

use crate::field::{Errors, Field};
use crate::groups::events::EventFields;
use crate::kind::Kind;
use crate::object_meta::path_segment;

pub(crate) static KIND: Kind =
    Kind { create_on_update: true, validate_create, validate_change, name: path_segment, ..Kind::PLAIN };

fn validate_create(event: &Field, errors: &mut Errors) {
    crate::groups::events::validate(event, &NAMES, errors);
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    crate::groups::events::validate_change(new, old, &NAMES, errors);
}

/// How this version calls the fields that upstream names in errors.
const NAMES: EventFields =
    EventFields { legacy: true, object: "involvedObject", controller: "reportingComponent", message: "message" };
