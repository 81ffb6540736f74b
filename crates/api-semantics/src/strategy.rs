//! What is special about a kind: defaults, what a client may set, validation. The generic registry calls these; a kind
//! without special rules uses the provided methods.

use std::collections::BTreeMap;

use api_types::FieldError;
use serde_json::Value;

use crate::checks::same_value;

/// Which part of an object a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The main resource: everything but what `status` owns.
    Main,
    /// The `status` subresource.
    Status,
    /// Another subresource that writes the same object, by name (`resize`, `ephemeralcontainers`, `approval`, `finalize`, ...).
    Other(&'static str),
}

/// Who writes, and when. Strategies are pure: what they need to know of the request comes in here.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The time of the request; `None` stands for the epoch (tests).
    pub now: Option<jiff::Timestamp>,
    pub username: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Paths of fields.
pub type Resets = &'static [&'static [&'static str]];

/// The behaviour of one kind in one served version. Objects are JSON values of that version, already checked against the
/// schema (every field has the right JSON type).
pub trait Strategy: Send + Sync {
    /// Fills in default values. Runs after decoding of every request body and stored object.
    fn default(&self, _object: &mut Value) {}

    /// Resets what a client may not set on create. The registry has set `metadata.uid`, `creationTimestamp`, the
    /// (generated) name and namespace before; it sets `generation` itself.
    fn prepare_create(&self, _context: &Context, object: &mut Value) {
        drop_field(object, "status");
    }

    /// Carries over from `old` what this part may not change.
    fn prepare_update(&self, _context: &Context, part: Part, new: &mut Value, old: &Value) {
        keep_other_parts(part, new, old);
    }

    /// All that is wrong with a new object, its metadata included.
    fn validate_create(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// All that is wrong with the change from `old` to `new`, including what is wrong with `new` itself and with its metadata.
    fn validate_update(&self, part: Part, new: &Value, _old: &Value) -> Vec<FieldError> {
        if part == Part::Main { self.validate_create(new) } else { Vec::new() }
    }

    /// Texts for `Warning` headers (without the `299 - ` frame).
    fn warnings(&self, _new: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// The fields that a write of this part resets, so that no writer of it comes to own them. `None` stands for the
    /// usual: the main part resets the status (where that is a subresource), `status` resets the spec.
    fn resets(&self, _part: Part) -> Option<Resets> {
        None
    }

    /// Whether `metadata.generation` is kept: 1 on create, +1 when an update changes anything but metadata and status.
    fn has_generation(&self) -> bool {
        true
    }

    /// Whether an update of the main part counts as a new generation: for most kinds, when anything but metadata and
    /// status changed.
    fn bumps_generation(&self, new: &Value, old: &Value) -> bool {
        changes_spec(new, old)
    }

    /// Whether a PUT to a name that does not exist creates the object.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without a resource version is taken (last write wins).
    fn unconditional_update(&self) -> bool {
        true
    }
}

/// Whether anything but metadata and status differs.
pub(crate) fn changes_spec(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let counts = |name: &&String| !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind");
    new.keys().chain(old.keys()).filter(counts).any(|name| {
        let (new, old) = (new.get(name), old.get(name));
        !same_value(new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null))
    })
}

fn drop_field(object: &mut Value, name: &str) {
    if let Some(map) = object.as_object_mut() {
        map.remove(name);
    }
}

/// The usual rule: `Main` keeps the old status, `Status` changes nothing but status (and metadata's managed fields,
/// which the registry handles).
pub fn keep_other_parts(part: Part, new: &mut Value, old: &Value) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else {
        return;
    };
    match part {
        Part::Main => {
            new.remove("status");
            if let Some(status) = old.get("status") {
                new.insert("status".to_owned(), status.clone());
            }
        }
        Part::Status => {
            let status = new.remove("status");
            let metadata = new.remove("metadata");
            *new = old.clone();
            new.remove("status");
            new.extend(status.map(|s| ("status".to_owned(), s)));
            new.extend(metadata.map(|m| ("metadata".to_owned(), m)));
        }
        Part::Other(_) => {}
    }
}

/// Keeps the metadata but for the record of who owns what, and what the registry compares (name, version).
pub(crate) fn keep_metadata(new: &mut Value, old: &Value) {
    const KEPT: [&str; 6] =
        ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"];
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for name in KEPT {
        metadata.remove(name);
        if let Some(value) = old["metadata"].get(name) {
            metadata.insert(name.to_owned(), value.clone());
        }
    }
}
