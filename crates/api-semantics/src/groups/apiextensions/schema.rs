//! Structural schemas (upstream: `apiextensions-apiserver/pkg/apiserver/schema` and its validation).

use api_types::{FieldError, FieldErrorKind};
use serde_json::Value;

use crate::field::{Errors, Field};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const LIST_TYPES: [&str; 3] = ["atomic", "set", "map"];

/// Where a schema stands, which decides the words for a missing type.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Field,
    Item,
}

pub(super) fn validate(root: &Field, status_subresource: bool, errors: &mut Errors) {
    let kind = root.get("type");
    if status_subresource && !["", "object"].contains(&kind.str()) {
        errors.invalid_str(
            &kind,
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        );
    }
    if !kind.str().is_empty() && kind.str() != "object" {
        errors.invalid(&kind, "must be object at the root");
    }
    let before = errors.len();
    one_schema(root, Place::Root, errors);
    // Rules need a schema whose types are right.
    if errors.len() == before {
        super::rules::validate(root, errors);
    }
}

fn one_schema(schema: &Field, place: Place, errors: &mut Errors) {
    types(schema, place, errors);
    let preserve = schema.get("x-kubernetes-preserve-unknown-fields");
    if preserve.exists() && !preserve.bool() {
        errors.invalid(&preserve, "must be true or undefined");
    }
    let kind = schema.str_of("type");
    lists(schema, kind, errors);
    let items = schema.get("items");
    if kind == "array" && !items.value().is_object() {
        errors.required(&items, "must be specified");
    }
    if schema.get("uniqueItems").bool() {
        errors.forbidden(
            &schema.get("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    for (_, property) in schema.get("properties").entries() {
        one_schema(&property, Place::Field, errors);
    }
    let additional = schema.get("additionalProperties");
    if additional.value().is_object() {
        if !schema.get("properties").is_empty() {
            errors.forbidden(&additional, "additionalProperties and properties are mutual exclusive");
        }
        one_schema(&additional, Place::Field, errors);
    } else if additional.exists() && !additional.bool() {
        errors.forbidden(&additional, "additionalProperties cannot be set to false");
    }
    if items.value().is_object() {
        one_schema(&items, Place::Item, errors);
    }
    let default = schema.get("default");
    if default.exists() {
        default_value(&default, schema.value(), errors);
    }
}

fn types(schema: &Field, place: Place, errors: &mut Errors) {
    let kind = schema.get("type");
    let int_or_string = schema.bool_of("x-kubernetes-int-or-string");
    if !kind.str().is_empty() {
        if !TYPES.contains(&kind.str()) {
            errors.not_supported(&kind, &TYPES);
        }
        return;
    }
    let words = match place {
        Place::Root => "must not be empty at the root",
        Place::Field => "must not be empty for specified object fields",
        Place::Item => "must not be empty for specified array items",
    };
    // Unknown fields of any type are the one case without a type.
    let open = schema.bool_of("x-kubernetes-preserve-unknown-fields");
    if !int_or_string && !open {
        errors.required(&kind, words);
    }
}

fn lists(schema: &Field, kind: &str, errors: &mut Errors) {
    let list = schema.get("x-kubernetes-list-type");
    if !list.exists() {
        return;
    }
    let words = "must be array if x-kubernetes-list-type is specified";
    match kind {
        "array" => {}
        "" => errors.required(&schema.get("type"), words),
        _ => errors.invalid(&schema.get("type"), words),
    }
    if !LIST_TYPES.contains(&list.str()) {
        errors.not_supported(&list, &LIST_TYPES);
    }
    let keys = schema.get("x-kubernetes-list-map-keys");
    if list.str() == "map" {
        if keys.is_empty() {
            errors.required(&keys, "must not be empty if x-kubernetes-list-type is map");
        }
    } else if !keys.is_empty() {
        errors.invalid(&schema.get("x-kubernetes-list-type"), "must be map if x-kubernetes-list-map-keys is non-empty");
    }
}

/// A default must itself be valid.
fn default_value(default: &Field, schema: &Value, errors: &mut Errors) {
    let value = default.value();
    let wanted = schema["type"].as_str().unwrap_or("");
    let actual = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    let fits = wanted.is_empty() || wanted == actual || (wanted == "number" && actual == "integer");
    if !fits {
        errors.push(FieldError {
            kind: FieldErrorKind::TypeInvalid,
            field: default.path().clone(),
            message: format!("Invalid value: {actual:?}:  in body must be of type {wanted}: {actual:?}"),
        });
    }
    let choices = schema["enum"].as_array().cloned().unwrap_or_default();
    if !choices.is_empty() && !choices.contains(value) {
        let words: Vec<String> =
            choices.iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        errors.push(FieldError::not_supported(default.path(), value, &words));
    }
}
