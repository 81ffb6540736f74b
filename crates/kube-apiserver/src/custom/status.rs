//! What a CustomResourceDefinition's status should say: whether its names are free, and whether it is served. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::conditions;

/// The status that `definition` should have beside the other definitions, at `now` (RFC 3339).
pub(super) fn wanted(definition: &Value, others: &[Value], now: &str) -> Value {
    let mut status = definition["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    let (accepted, conflict) = names(definition, others);
    status["acceptedNames"] = accepted;
    match conflict {
        None => {
            conditions::set(&mut status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            let message = "the initial names have been accepted";
            conditions::set(&mut status, "Established", "True", "InitialNamesAccepted", message, now);
        }
        Some((reason, message)) => {
            conditions::set(&mut status, "NamesAccepted", "False", reason, &message, now);
            // What was served once stays so.
            if !is_true(&status, "Established") {
                conditions::set(&mut status, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
        }
    }
    store_versions(definition, &mut status);
    status
}

/// Whether a condition of a definition (or of its status) holds.
pub(super) fn is_true(status: &Value, name: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == name && c["status"] == "True")
}

/// What the status says from the moment that the definition is deleted.
pub(super) fn set_terminating(status: &mut Map<String, Value>, now: &str) {
    let mut changed = Value::Object(std::mem::take(status));
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions::set(&mut changed, "Terminating", "True", "InstanceDeletionPending", message, now);
    if let Value::Object(changed) = changed {
        *status = changed;
    }
}

/// The storage version is among the stored ones.
fn store_versions(definition: &Value, status: &mut Value) {
    let versions = definition["spec"]["versions"].as_array();
    let Some(storage) = versions.into_iter().flatten().find(|v| v["storage"] == true) else { return };
    if !status["storedVersions"].is_array() {
        status["storedVersions"] = json!([]);
    }
    if let Some(stored) = status["storedVersions"].as_array_mut()
        && !stored.contains(&storage["name"])
    {
        stored.push(storage["name"].clone());
    }
}

/// The names that the definition may have, and the first conflict with another definition of its group.
fn names(definition: &Value, others: &[Value]) -> (Value, Option<(&'static str, String)>) {
    let spec = &definition["spec"];
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let same_group = |other: &&Value| {
        other["spec"]["group"] == spec["group"] && other["metadata"]["name"] != definition["metadata"]["name"]
    };
    for other in others.iter().filter(same_group) {
        let taken = &other["status"]["acceptedNames"];
        let take = |set: &mut BTreeSet<String>, name: &Value| {
            set.extend(name.as_str().filter(|n| !n.is_empty()).map(str::to_owned));
        };
        take(&mut resources, &taken["plural"]);
        take(&mut resources, &taken["singular"]);
        taken["shortNames"].as_array().into_iter().flatten().for_each(|n| take(&mut resources, n));
        take(&mut kinds, &taken["kind"]);
        take(&mut kinds, &taken["listKind"]);
    }
    let wanted = &spec["names"];
    let mut accepted = definition["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut conflict = None;
    let mut refuse = |reason, name: &Value| {
        conflict.get_or_insert_with(|| (reason, format!("{name} is already in use")));
    };
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ] {
        match wanted[field].as_str() {
            Some(name) if taken.contains(name) => refuse(reason, &wanted[field]),
            _ => accepted[field] = wanted[field].clone(),
        }
    }
    let short = wanted["shortNames"].as_array();
    match short.into_iter().flatten().find(|n| n.as_str().is_some_and(|n| resources.contains(n))) {
        Some(taken) => refuse("ShortNamesConflict", taken),
        None => accepted["shortNames"] = wanted["shortNames"].clone(),
    }
    accepted["categories"] = wanted["categories"].clone();
    if let Some(fields) = accepted.as_object_mut() {
        fields.retain(|_, v| !v.is_null());
    }
    (accepted, conflict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.x.io")}, "spec": {"group": "x.io",
            "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "storage": true}]}})
    }

    #[test]
    fn free_names_are_accepted_once() {
        let mut widgets = definition("widgets", "Widget");
        let status = wanted(&widgets, &[], "t1");
        assert!(is_true(&status, "NamesAccepted") && is_true(&status, "Established"));
        assert_eq!(status["storedVersions"], json!(["v1"]));
        assert_eq!(status["acceptedNames"]["listKind"], "WidgetList");
        widgets["status"] = status.clone();
        assert_eq!(wanted(&widgets, &[], "t2"), status, "a second look changes nothing");
    }

    #[test]
    fn taken_names_are_refused() {
        let mut other = definition("things", "Widget");
        other["status"] = wanted(&other, &[], "t");
        let status = wanted(&definition("widgets", "Widget"), &[other], "t");
        assert!(!is_true(&status, "Established"));
        assert_eq!(status["conditions"][0]["reason"], "KindConflict");
        assert_eq!(status["conditions"][0]["message"], "\"Widget\" is already in use");
        assert_eq!(status["acceptedNames"].get("kind"), None);
    }
}
