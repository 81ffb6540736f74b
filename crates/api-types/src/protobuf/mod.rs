//! Kubernetes protobuf over values and schemas: the messages themselves, the storage envelope (`k8s\0` +
//! `runtime.Unknown`), lists and watch events spliced from encoded parts.

mod decode;
mod encode;
mod wire;

pub use decode::{DecodeError, Unknown, decode_envelope, decode_message, decode_object};
pub use encode::{encode_envelope, encode_message, encode_object, encode_watch_event, list_ends, list_item_head};

/// What every enveloped object starts with.
pub const MAGIC: &[u8; 4] = b"k8s\0";
