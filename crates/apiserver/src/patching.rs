//! Applying patches to JSON values.

use api_types::schema::Schema;
use serde_json::Value;

use crate::error::{Error, Result};

fn parse(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|e| Error::bad_request(format!("error decoding patch: {e}")))
}

/// RFC 7386.
pub(crate) fn merge_patch(old: &Value, body: &[u8]) -> Result<Value> {
    let mut new = old.clone();
    merge(&mut new, parse(body)?);
    Ok(new)
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902.
pub(crate) fn json_patch(_old: &Value, _body: &[u8]) -> Result<Value> {
    Err(Error::internal("JSON patch is not there yet"))
}

pub(crate) fn strategic_merge(_old: &Value, _body: &[u8], _schema: &Schema) -> Result<Value> {
    Err(Error::internal("strategic merge patch is not there yet"))
}
