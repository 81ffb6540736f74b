//! StorageVersionMigration: rewrites stored objects.

use api_types::Path;

use crate::checks::IMMUTABLE;
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind =
    Kind { initial_status: Some(empty_status), validate, validate_change, validate_part, ..Kind::CLUSTER };

fn validate(migration: &Field, errors: &mut Errors) {
    let resource = migration.dig("spec.resource.resource");
    if resource.str().is_empty() {
        errors.required(&resource, "resource is required");
    }
}

/// Upstream names the fields without their place.
fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    for name in ["group", "resource"] {
        let field = new.dig("spec.resource").get(name);
        if field.str() != old.dig("spec.resource").str_of(name) {
            errors.invalid_str(&Field::at(field.value(), Path::new(name)), IMMUTABLE);
        }
    }
}

/// A migration ends once, in one way.
fn validate_part(_part: crate::strategy::Part, new: &Field, old: &Field, errors: &mut Errors) {
    let holds = |object: &Field, kind: &str| {
        let mut conditions = object.dig("status.conditions").items();
        conditions.any(|c| c.str_of("type") == kind && c.str_of("status") == "True")
    };
    let conditions = new.dig("status.conditions");
    if holds(new, "Succeeded") && holds(new, "Failed") {
        errors.invalid(&conditions, "Both success and failed conditions cannot be true at the same time");
    }
    for (kind, word) in [("Succeeded", "success"), ("Failed", "failed")] {
        if holds(new, kind) && holds(new, "Running") {
            errors.invalid(&conditions, format!("Running condition cannot be true when {word} condition is true"));
        }
    }
    for (kind, word) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if holds(old, kind) && !holds(new, kind) {
            errors.invalid(&conditions, format!("{word} condition cannot be set to false once it is true"));
        }
    }
    let version = new.dig("status.resourceVersion");
    let before = old.dig("status.resourceVersion");
    if !before.str().is_empty() && version.str() != before.str() {
        errors.invalid_str(&version, "cannot be updated");
    }
}
