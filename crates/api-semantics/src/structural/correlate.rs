//! What a value replaces: nodes of an object and of the object before it that are the same place. What a place holds may
//! stay as it was even where the schema has come to refuse it (upstream: `apiserver/pkg/cel/common/equality.go`).

use serde_json::Value;

/// What was at a place before.
#[derive(Clone, Copy)]
pub(super) struct Old<'v> {
    value: Option<&'v Value>,
    /// Whether this place, or the nearest one above it that can be told, is as it was.
    unchanged: bool,
}

impl<'v> Old<'v> {
    pub(super) fn of(value: Option<&'v Value>) -> Self {
        Old { value, unchanged: false }
    }

    pub(super) fn value(self) -> Option<&'v Value> {
        self.value
    }

    pub(super) fn unchanged(self) -> bool {
        self.unchanged
    }

    fn next(self, value: Option<&'v Value>, now: &Value) -> Self {
        Old { value, unchanged: value.map_or(self.unchanged, |old| old == now) }
    }

    /// Of a field or entry that holds `now`.
    pub(super) fn field(self, name: &str, now: &Value, schema: &Value) -> Self {
        let told_apart = schema["x-kubernetes-map-type"] != "atomic";
        self.next(self.value.filter(|_| told_apart).and_then(|old| old.get(name)), now)
    }

    /// Of an item of a list: only those with keys can be told.
    pub(super) fn item(self, now: &Value, schema: &Value) -> Self {
        self.next(self.value.and_then(|old| same_item(now, old, schema)), now)
    }
}

/// The old item with the same keys.
fn same_item<'v>(item: &Value, old: &'v Value, schema: &Value) -> Option<&'v Value> {
    if schema["x-kubernetes-list-type"] != "map" {
        return None;
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let same = |other: &&Value| keys.iter().filter_map(Value::as_str).all(|k| other.get(k) == item.get(k));
    old.as_array()?.iter().find(same)
}
