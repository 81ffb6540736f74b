//! The words of the Kubernetes API: typed structs (re-exported from `k8s-openapi`), the resource table, the schema
//! table, codecs and the small value types that every component needs.
//!
//! Invariant: pure; opens no file and no socket, reads no clock.

mod field_error;
mod status;

pub use field_error::{FieldError, FieldErrorKind, Path};
pub use k8s_openapi;
pub use status::{ApiError, Cause, Details};
