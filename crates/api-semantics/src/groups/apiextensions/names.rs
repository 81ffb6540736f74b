//! The names of a custom resource.

use crate::field::{Errors, Field};
use crate::groups::admissionregistration::mixed_case;
use crate::names;

pub(super) fn validate(all: &Field, errors: &mut Errors) {
    for name in ["plural", "singular"] {
        let field = all.get(name);
        if field.str().is_empty() {
            errors.required(&field, "");
        } else {
            errors.invalid_each(&field, names::dns1035_label(field.str()));
        }
    }
    for name in ["kind", "listKind"] {
        let field = all.get(name);
        if field.str().is_empty() {
            errors.required(&field, "");
        } else {
            mixed_case(&field, errors);
        }
    }
    for list in ["shortNames", "categories"] {
        for item in all.get(list).items() {
            errors.invalid_each(&item, names::dns1035_label(item.str()));
        }
    }
    let list_kind = all.get("listKind");
    if !list_kind.str().is_empty() && all.str_of("kind") == list_kind.str() {
        errors.invalid(&list_kind, "kind and listKind may not be the same");
    }
}
