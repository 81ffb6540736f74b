//! Defaults of structural schemas.

use serde_json::Value;

/// Fills in defaults, outermost first, so that defaulted objects get the defaults of their own fields too. A null where
/// null is not allowed and a default exists counts as absent.
pub(super) fn apply(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(object) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                let Some(default) = property.get("default") else { continue };
                let absent = match object.get(name) {
                    None => true,
                    Some(found) => found.is_null() && property["nullable"] != true,
                };
                if absent && !default.is_null() {
                    object.insert(name.clone(), default.clone());
                }
            }
            for (name, entry) in object.iter_mut() {
                match schema["properties"].get(name) {
                    Some(property) => apply(entry, property),
                    None if schema["additionalProperties"].is_object() => apply(entry, &schema["additionalProperties"]),
                    None => {}
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                apply(item, &schema["items"]);
            }
        }
        _ => {}
    }
}
