//! Conversion between the served versions of a kind.

use apiserver::{error::Result, model::Format};
use serde_json::Value;

/// From one format to another.
pub(crate) fn convert(_from: &Format, to: &Format, mut value: Value) -> Result<Value> {
    to.stamp(&mut value);
    Ok(value)
}
