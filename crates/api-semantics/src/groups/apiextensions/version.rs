//! One version of a custom resource: its schema, subresources, columns and selectable fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::schema;
use crate::field::{Errors, Field};

const SIMPLE_PATH: &str = "must be a simple json path starting with .";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

pub(super) fn validate(version: &Field, errors: &mut Errors) {
    let root = version.dig("schema.openAPIV3Schema");
    let status = version.get("subresources").has("status");
    if root.exists() {
        schema::validate(&root, status, errors);
    } else {
        errors.required(&root, "");
    }
    let warning = version.get("deprecationWarning");
    if warning.exists() && !version.bool_of("deprecated") {
        errors.invalid(&warning, "can only be set for deprecated versions");
    }
    scale(&version.dig("subresources.scale"), errors);
    for column in version.get("additionalPrinterColumns").items() {
        one_column(&column, errors);
    }
    selectable_fields(version, &root, errors);
}

fn scale(scale: &Field, errors: &mut Errors) {
    if !scale.exists() {
        return;
    }
    for (name, prefix, words) in [
        ("specReplicasPath", ".spec.", "should be a json path under .spec"),
        ("statusReplicasPath", ".status.", "should be a json path under .status"),
    ] {
        let path = scale.get(name);
        if path.str().is_empty() {
            errors.required(&path, "");
        } else if !is_simple_path(path.str()) {
            errors.invalid(&path, SIMPLE_PATH);
        } else if !path.str().starts_with(prefix) {
            errors.invalid(&path, words);
        }
    }
    let labels = scale.get("labelSelectorPath");
    if !labels.str().is_empty() {
        if !is_simple_path(labels.str()) {
            errors.invalid(&labels, SIMPLE_PATH);
        } else if !labels.str().starts_with(".spec.") && !labels.str().starts_with(".status.") {
            errors.invalid(&labels, "should be a json path under either .spec or .status");
        }
    }
}

/// `.a.b[0]`: what upstream's JSON path parser takes as one plain path.
fn is_simple_path(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || "_-[]'\"@".contains(c);
    text.strip_prefix('.').is_some_and(|rest| rest.split('.').all(|p| !p.is_empty() && p.chars().all(word)))
}

fn one_column(column: &Field, errors: &mut Errors) {
    if column.str_of("name").is_empty() {
        errors.required(&column.get("name"), "");
    }
    let kind = column.get("type");
    let words = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.str().is_empty() {
        errors.required(&kind, &words);
    } else if !COLUMN_TYPES.contains(&kind.str()) {
        errors.invalid(&kind, words);
    }
    let format = column.get("format");
    let formats = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    if !format.str().is_empty() && !formats.contains(&format.str()) {
        errors.invalid(&format, format!("must be one of {}", formats.join(",")));
    }
    // Upstream spells the field as in Go.
    let path = Field::at(column.get("jsonPath").value(), column.path().child("JSONPath"));
    if path.str().is_empty() {
        errors.required(&path, "");
    } else if !is_simple_path(path.str()) {
        errors.invalid(&path, SIMPLE_PATH);
    }
}

fn selectable_fields(version: &Field, root: &Field, errors: &mut Errors) {
    let list = version.get("selectableFields");
    if list.is_empty() {
        return;
    }
    if !root.exists() {
        errors.invalid_as(&list, "", "may only be set when `version.schema.openAPIV3Schema` is not included");
        return;
    }
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let path = item.get("jsonPath");
        if path.str().is_empty() {
            errors.required(&path, "");
            continue;
        }
        if let Some(message) = selectable(path.str(), root.value()) {
            errors.invalid(&path, message);
        }
        if !seen.insert(path.str()) {
            errors.duplicate(&path);
        }
    }
}

/// What is wrong with a selectable field, if anything.
fn selectable(path: &str, root: &Value) -> Option<String> {
    if !path.starts_with(['.', '[']) {
        return Some(format!("is an invalid path: expected [ or . but got: {path}"));
    }
    let mut at = root;
    for name in path.split('.').skip(1) {
        at = &at["properties"][name];
        if at.is_null() {
            return Some("is an invalid path: does not refer to a valid field".to_owned());
        }
    }
    let fits = matches!(at["type"].as_str(), Some("string" | "boolean" | "integer"));
    (!fits).then(|| "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.".to_owned())
}
