//! Conversion between the served versions of a kind.

use apiserver::{error::Result, model::Format};
use serde_json::Value;

/// From one format to another.
pub(crate) fn convert(from: &Format, to: &Format, value: Value) -> Result<Value> {
    let mut value = api_semantics::convert(&to.kind, (&from.group, &from.version), (&to.group, &to.version), value);
    to.stamp(&mut value);
    api_types::schema::normalize(&mut value, &to.schema);
    Ok(value)
}
