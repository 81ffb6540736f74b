//! Object metadata as the generic server reads and writes it, on JSON values.

use serde_json::{Map, Value};

/// A text of `metadata`, "" when absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "name")
}

pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

pub fn get<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(field).filter(|v| !v.is_null())
}

/// `metadata` for writing, made when absent or no object.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    map_mut(object, "metadata")
}

/// `metadata` itself as a value.
pub fn metadata_value(object: &mut Value) -> &mut Value {
    metadata_mut(object);
    &mut object["metadata"]
}

/// The object-valued field `field`, made when absent or no object.
pub fn map_mut<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { unreachable!("made an object above") };
    let slot = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    let Value::Object(inner) = slot else { unreachable!("made an object above") };
    inner
}

/// Sets a field of `metadata`; null removes it.
pub fn set(object: &mut Value, field: &str, value: Value) {
    let metadata = metadata_mut(object);
    if value.is_null() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), value);
    }
}

/// Copies a field of `metadata` from `from`; removes it when it is absent there.
pub fn copy(object: &mut Value, from: &Value, field: &str) {
    let value = get(from, field).cloned().unwrap_or(Value::Null);
    set(object, field, value);
}

pub fn finalizers(object: &Value) -> Vec<String> {
    strings(get(object, "finalizers"))
}

pub fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let value = if finalizers.is_empty() { Value::Null } else { finalizers.into() };
    set(object, "finalizers", value);
}

/// Whether deletion was asked for.
pub fn is_terminating(object: &Value) -> bool {
    get(object, "deletionTimestamp").is_some()
}

pub fn grace_period(object: &Value) -> Option<i64> {
    get(object, "deletionGracePeriodSeconds").and_then(Value::as_i64)
}

pub fn generation(object: &Value) -> i64 {
    get(object, "generation").and_then(Value::as_i64).unwrap_or_default()
}

/// A list of texts; empty for anything else.
pub fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The text of a JSON path like `spec.nodeName`; numbers and booleans as JSON shows them, "" when absent.
pub fn path_text(object: &Value, path: &str) -> String {
    let value = path.split('.').try_fold(object, |value, field| value.get(field));
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A time as metadata shows it: RFC 3339 in whole seconds.
pub fn timestamp(at: jiff::Timestamp) -> Value {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

/// The time that `value` shows.
pub fn parse_timestamp(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}
