//! The three patch forms of PATCH requests. Each takes the current object and the request's body, and returns the
//! patched value, which the caller decodes against the schema again ([`api_types::json::decode_value`]).
//!
//! Errors are the ones that upstream answers: 400 for a body that is no patch, 422 for one that cannot be applied, 413
//! for too many operations.

mod order;
mod strategic;

pub use strategic::strategic_merge;

use api_types::{ApiError, json};
use serde_json::Value;

/// Upstream's limit of operations in one JSON patch.
const MAX_OPERATIONS: usize = 10_000;

/// A patched object and what a strict reader would refuse in the patch itself (duplicate fields).
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    pub value: Value,
    pub strict_errors: Vec<String>,
}

/// RFC 6902.
pub fn json_patch(original: &Value, patch: &[u8]) -> Result<Patched, ApiError> {
    let operations = json::parse(patch).map_err(bad_request)?.to_value();
    let count = operations.as_array().map_or(0, Vec::len);
    if count > MAX_OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}");
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    let operations: json_patch::Patch = serde_json::from_value(operations).map_err(bad_request)?;
    let mut value = original.clone();
    json_patch::patch(&mut value, &operations).map_err(|_| unprocessable())?;
    Ok(Patched { value, strict_errors: Vec::new() })
}

/// RFC 7386.
pub fn merge_patch(original: &Value, patch: &[u8]) -> Result<Patched, ApiError> {
    let patch = read(patch)?;
    let mut value = original.clone();
    json_patch::merge(&mut value, &patch.value);
    Ok(Patched { value, ..patch })
}

/// A patch that must be an object, with its duplicate fields.
fn read(patch: &[u8]) -> Result<Patched, ApiError> {
    let decoded = json::decode(patch, &api_types::schema::Type::Any).map_err(bad_request)?;
    if !decoded.value.is_object() {
        return Err(ApiError::bad_request(
            "json: cannot unmarshal array into Go value of type map[string]interface {}",
        ));
    }
    Ok(Patched { value: decoded.value, strict_errors: decoded.strict_errors })
}

fn bad_request(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// The answer to a patch that does not fit the object.
fn unprocessable() -> ApiError {
    let mut error = ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request");
    error.details_mut();
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_patches() {
        let original = json!({"a": [1, 2], "b": {"c": "d"}});
        let patch = br#"[{"op":"test","path":"/b/c","value":"d"},{"op":"add","path":"/a/-","value":3},{"op":"remove","path":"/b/c"}]"#;
        assert_eq!(json_patch(&original, patch).expect("applies").value, json!({"a": [1, 2, 3], "b": {}}));
        let error = json_patch(&original, br#"[{"op":"remove","path":"/x"}]"#).expect_err("absent");
        assert_eq!((error.code, error.reason.as_ref()), (422, "Invalid"));
        assert_eq!(json_patch(&original, b"[").expect_err("no JSON").message, "unexpected end of JSON input");
    }

    #[test]
    fn merge_patches() {
        let original = json!({"a": {"b": 1, "c": 2}});
        let patched = merge_patch(&original, br#"{"a":{"b":null,"d":3,"d":4}}"#).expect("applies");
        assert_eq!(patched.value, json!({"a": {"c": 2, "d": 4}}));
        assert_eq!(patched.strict_errors, ["duplicate field \"a.d\""]);
        assert_eq!(merge_patch(&original, b"[]").expect_err("no object").code, 400);
    }
}
