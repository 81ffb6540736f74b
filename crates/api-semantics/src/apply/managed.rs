//! `metadata.managedFields`: who owns what, read from and written to objects.

use std::collections::BTreeMap;

use api_types::time;
use serde_json::{Map, Value, json};

use super::field_set::FieldSet;

/// Who writes: one entry of `managedFields` per value of this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) applies: bool,
    /// Empty for appliers: they are one manager in all versions.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    /// How conflicts call the manager.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if !self.applies {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// What a manager owns, in which version, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

/// All managers of an object.
pub(super) type Managed = BTreeMap<Manager, Owned>;

/// At most so many update managers are kept apart; the oldest become one.
const MAX_UPDATE_MANAGERS: usize = 10;
const OLD_MANAGERS: &str = "ancient-changes";

/// The entries of an object; none when there are none or one cannot be read.
pub(super) fn of_object(object: &Value) -> Option<Managed> {
    read(object.pointer("/metadata/managedFields")?.as_array()?)
}

fn read(entries: &[Value]) -> Option<Managed> {
    let mut managed = Managed::new();
    for entry in entries {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let applies = match text("operation").as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let api_version = text("apiVersion");
        let manager = Manager {
            name: text("manager"),
            applies,
            api_version: if applies { String::new() } else { api_version.clone() },
            subresource: text("subresource"),
        };
        let set = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::from_json(fields)?,
        };
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        managed.insert(manager, Owned { set, api_version, time });
    }
    Some(managed)
}

/// The one empty entry by which a client asks for a fresh start.
pub(super) fn is_reset(object: &Value) -> bool {
    match object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => only.as_object().is_some_and(|entry| {
            entry.values().all(|v| v.is_null() || v.as_str() == Some("") || v.as_object().is_some_and(Map::is_empty))
        }),
        _ => false,
    }
}

/// Takes the entries off an object.
pub(super) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Writes the entries in upstream's order: appliers first, then by time and name.
pub(super) fn write(managed: &Managed, object: &mut Value) {
    let mut entries: Vec<(&Manager, &Owned)> = managed.iter().collect();
    entries.sort_by_key(|(m, o)| (!m.applies, o.time.clone(), &m.name, o.api_version.clone(), &m.subresource));
    let list: Vec<Value> = entries.into_iter().map(|(manager, owned)| entry(manager, owned)).collect();
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        if list.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(list));
        }
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let mut text = |name: &str, text: &str| {
        if !text.is_empty() {
            entry.insert(name.to_owned(), Value::from(text));
        }
    };
    text("manager", &manager.name);
    text("operation", if manager.applies { "Apply" } else { "Update" });
    text("subresource", &manager.subresource);
    text("time", owned.time.as_deref().unwrap_or_default());
    text("fieldsType", "FieldsV1");
    entry.insert("apiVersion".to_owned(), Value::from(owned.api_version.as_str()));
    entry.insert("fieldsV1".to_owned(), owned.set.to_json());
    Value::Object(entry)
}

/// Puts the oldest update managers of one version together when there are too many.
pub(super) fn cap(managed: &mut Managed) {
    let mut updaters: Vec<(Option<String>, Manager)> =
        managed.iter().filter(|(m, _)| !m.applies).map(|(m, o)| (o.time.clone(), m.clone())).collect();
    updaters.sort();
    let mut excess = updaters.len().saturating_sub(MAX_UPDATE_MANAGERS);
    for (_, manager) in updaters {
        if excess == 0 {
            return;
        }
        let bucket = Manager { name: OLD_MANAGERS.to_owned(), subresource: String::new(), ..manager.clone() };
        if manager == bucket {
            continue;
        }
        let Some(owned) = managed.remove(&manager) else { continue };
        match managed.get_mut(&bucket) {
            Some(old) => {
                old.set.add(&owned.set);
                old.time = owned.time;
                excess -= 1;
            }
            None => {
                managed.insert(bucket, owned);
            }
        }
    }
}

/// A timestamp as entries have it.
pub(super) fn timestamp(now: &jiff::Timestamp) -> String {
    time::format(now)
}
