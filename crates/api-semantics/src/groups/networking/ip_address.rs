//! IPAddress: an address taken from a service range.

use crate::checks::{immutable, optional_name, required_name};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::object_meta::any_name;

pub(crate) static KIND: Kind = Kind { name: any_name, validate, validate_change, ..Kind::CLUSTER };

fn validate(address: &Field, errors: &mut Errors) {
    let name = address.get("metadata").get("name");
    if !name.str().is_empty() {
        crate::checks::ip(&name, errors);
    }
    let parent = address.dig("spec.parentRef");
    if !parent.exists() {
        errors.required(&parent, "");
        return;
    }
    optional_name(&parent.get("group"), names::dns1123_subdomain, errors);
    required_name(&parent.get("resource"), names::path_segment, errors);
    required_name(&parent.get("name"), names::path_segment, errors);
    optional_name(&parent.get("namespace"), names::path_segment, errors);
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    immutable(&new.dig("spec.parentRef"), &old.dig("spec.parentRef"), errors);
}
