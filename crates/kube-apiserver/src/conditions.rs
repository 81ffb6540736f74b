//! Conditions in the status of objects that this server keeps itself.

use serde_json::{Value, json};

/// Sets a condition; its time changes with its status only.
pub(crate) fn set(status: &mut Value, name: &str, value: &str, reason: &str, message: &str, now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let made = json!({"type": name, "status": value, "lastTransitionTime": now, "reason": reason, "message": message});
    match conditions.iter_mut().find(|c| c["type"] == name) {
        Some(found) if found["status"] == value => {
            found["reason"] = reason.into();
            found["message"] = message.into();
        }
        Some(found) => *found = made,
        None => conditions.push(made),
    }
}
