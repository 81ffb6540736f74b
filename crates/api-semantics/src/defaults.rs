//! Small verbs for default values. Defaults run on every decoded object, so they edit the JSON value in place.

use serde_json::{Map, Value, json};

use crate::field::is_zero;

/// Sets `key` when it is absent or null (a nil pointer).
pub(crate) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets `key` when it is absent or the zero value of its type (a plain Go field).
pub(crate) fn set_zero(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(is_zero)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// The object under `key`, made when absent. On something that is no object: the thing itself.
pub(crate) fn ensure<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        return object;
    }
    set(object, key, json!({}));
    &mut object[key]
}

/// Calls `f` on the value at the dotted path, when it is there.
pub(crate) fn within(object: &mut Value, path: &str, f: impl FnOnce(&mut Value)) {
    let mut at = object;
    for name in path.split('.') {
        match at.get_mut(name) {
            Some(next) if !next.is_null() => at = next,
            _ => return,
        }
    }
    f(at);
}

/// Calls `f` on each item of the list under `key`.
pub(crate) fn each(object: &mut Value, key: &str, f: impl FnMut(&mut Value)) {
    if let Some(items) = object.get_mut(key).and_then(Value::as_array_mut) {
        items.iter_mut().for_each(f);
    }
}

/// The text under `key`; empty when absent.
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Whether `key` is there and not null.
pub(crate) fn has(object: &Value, key: &str) -> bool {
    object.get(key).is_some_and(|v| !v.is_null())
}

/// Adds the entries of `from` that `to` lacks.
pub(crate) fn fill(to: &mut Value, from: &Map<String, Value>) {
    for (key, value) in from {
        set(to, key, value.clone());
    }
}

/// A clone of the map at the dotted path; empty when absent.
pub(crate) fn map_at(object: &Value, path: &str) -> Map<String, Value> {
    let found = path.split('.').try_fold(object, |at, name| at.get(name));
    found.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Removes `key`.
pub(crate) fn drop_key(object: &mut Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
}

/// Makes `key` of `new` what it is in `old` (absent included).
pub(crate) fn keep(new: &mut Value, old: &Value, key: &str) {
    let Some(map) = new.as_object_mut() else {
        return;
    };
    match old.get(key) {
        Some(value) => {
            map.insert(key.to_owned(), value.clone());
        }
        None => {
            map.remove(key);
        }
    }
}
