//! Managed fields: who owns what.

use api_semantics::{
    Part,
    apply::{self, FieldSet},
};
use serde_json::Value;

use super::Writer;
use crate::{error::Result, meta, model::Resource};

/// Keeps `metadata.managedFields` for one writer.
pub struct Manager<'a> {
    resource: &'a Resource,
    writer: &'a Writer,
    subresource: &'a str,
    api_version: String,
    /// What this (sub)resource resets, so that nobody comes to own it through it.
    resets: FieldSet,
}

impl<'a> Manager<'a> {
    pub fn new(resource: &'a Resource, writer: &'a Writer, part: Part, subresource: &'a str) -> Self {
        let usual: api_semantics::Resets = match part {
            Part::Main if resource.subresource("status").is_some() => &[&["status"]],
            Part::Status => &[&["spec"]],
            _ => &[],
        };
        let resets = FieldSet::of_fields(resource.format.strategy.resets(part).unwrap_or(usual));
        Manager { resource, writer, subresource, api_version: resource.format.api_version(), resets }
    }

    fn write(&self) -> apply::Write<'_> {
        apply::Write {
            manager: &self.writer.manager,
            api_version: &self.api_version,
            subresource: self.subresource,
            resets: &self.resets,
            now: component_base::clock::now(),
        }
    }

    /// Records in `new` that the writer set what differs from `old` (`None`: all of it).
    pub fn record(&self, old: Option<&Value>, new: &mut Value) {
        apply::track_update(&self.resource.format.schema, old, new, &self.write());
    }

    /// The object after the writer applied `config` to `live` (`None`: there is no such object yet).
    pub fn apply(&self, live: Option<&Value>, config: &Value, force: bool) -> Result<Value> {
        let request = apply::Request { schema: &self.resource.format.schema, live, applied: config, force };
        apply::apply(request, &self.write())
    }
}

/// When a write changed nothing that anybody owns, the entries keep their times, so that the object stays the same bytes.
pub(super) fn keep_times_of_unchanged(new: &mut Value, old: &Value) {
    let entries = |object| meta::get(object, "managedFields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (ours, theirs) = (entries(new), entries(old));
    if ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same_but_for_time(a, b)) {
        meta::copy(new, old, "managedFields");
    }
}

fn same_but_for_time(a: &Value, b: &Value) -> bool {
    let untimed = |entry| Value::as_object(entry).into_iter().flatten().filter(|(name, _)| *name != "time");
    untimed(a).eq(untimed(b))
}
