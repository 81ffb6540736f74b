//! How upstream shows structs in error messages: as JSON of its internal types, with Go's field names and every field.

use api_types::{FieldError, FieldErrorKind};
use serde_json::Value;

use crate::field::Field;

/// The struct's fields in order; a trailing `*` marks one that is shown as `null` when absent, `#` one that is shown as
/// `0`, `?` one that is shown as `false`; others are shown as `""`. `json=Go` gives a name that is not just capitalised.
pub(crate) fn shown(object: &Field, fields: &[&str]) -> String {
    let parts: Vec<String> = fields
        .iter()
        .map(|spec| {
            let name = spec.trim_end_matches(['*', '#', '?']);
            let zero = match spec.chars().last() {
                Some('*') => "null",
                Some('#') => "0",
                Some('?') => "false",
                _ => "\"\"",
            };
            let (json, go) = name.split_once('=').map_or_else(|| (name, capitalised(name)), |(j, g)| (j, g.to_owned()));
            let value = object.value().get(json).filter(|v| !v.is_null());
            format!("\"{go}\":{}", value.map_or_else(|| zero.to_owned(), Value::to_string))
        })
        .collect();
    format!("{{{}}}", parts.join(","))
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Go's `%q` of a list of words.
pub(crate) fn quoted_set(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| quoted(w)).collect();
    format!("[{}]", quoted.join(" "))
}

/// An unsupported struct.
pub(crate) fn not_supported(field: &Field, shown: &str, words: &[&str]) -> FieldError {
    let list: Vec<String> = words.iter().map(|w| quoted(w)).collect();
    let message = format!("Unsupported value: {shown}: supported values: {}", list.join(", "));
    FieldError { kind: FieldErrorKind::NotSupported, field: field.path().clone(), message }
}

/// An invalid struct.
pub(crate) fn invalid(field: &Field, shown: &str, detail: &str) -> FieldError {
    let message = format!("Invalid value: {shown}: {detail}");
    FieldError { kind: FieldErrorKind::Invalid, field: field.path().clone(), message }
}

/// What upstream reports with the explanation in place of the value.
pub(crate) fn invalid_without_value(field: &Field, detail: &str) -> FieldError {
    let message = format!("Invalid value: {detail}");
    FieldError { kind: FieldErrorKind::Invalid, field: field.path().clone(), message }
}

/// What upstream reports without any explanation.
pub(crate) fn bare_invalid(field: &Field) -> FieldError {
    let message = format!("Invalid value: {}", field.value());
    FieldError { kind: FieldErrorKind::Invalid, field: field.path().clone(), message }
}

/// A label selector: the API's own type, shown with its JSON names in their order.
pub(crate) fn selector(selector: &Field) -> String {
    if !selector.exists() {
        return "null".to_owned();
    }
    let shown = crate::selectors::shown(selector.value());
    let parts = ["matchLabels", "matchExpressions"]
        .iter()
        .filter_map(|name| shown.get(name).map(|value| format!("\"{name}\":{value}")));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

/// A struct that must stay as it is, shown as Go has it.
pub(crate) fn immutable(new: &Field, old: &Field, of: &str, errors: &mut crate::field::Errors) {
    if !crate::checks::same(new, old) {
        let shown = crate::go_internal::compact(new.value(), of);
        errors.push(invalid(new, &shown, crate::checks::IMMUTABLE));
    }
}
