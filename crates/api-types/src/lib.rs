//! The words of the Kubernetes API: typed structs (re-exported from `k8s-openapi`), the resource table, the schema
//! table, codecs and the small value types that every component needs.
//!
//! Invariant: pure; opens no file and no socket, reads no clock.

pub mod duration;
mod field_error;
pub mod int_or_string;
pub mod json;
pub mod names;
pub mod protobuf;
pub mod quantity;
pub mod resources;
pub mod schema;
pub mod selector;
mod status;
pub mod time;
pub mod yaml;

pub use field_error::{FieldError, FieldErrorKind, Path};
pub use k8s_openapi;
pub use quantity::Quantity;
pub use selector::{FieldSelector, LabelSelector};
pub use status::{ApiError, Cause, Details};
