//! JSON in and out, driven by the schema: decoding reports unknown and duplicate fields and wrong types with upstream's
//! texts; encoding prints what Go's `encoding/json` prints for upstream's types.
//!
//! Input is bounded in depth ([`MAX_DEPTH`]); nothing panics on hostile bytes.

mod decode;
mod encode;
mod parse;

pub use decode::{DecodeError, Decoded, decode, decode_as_sent, decode_doc, decode_value};
pub use encode::{encode, encode_list, encode_pretty, encode_value, encode_watch_event, pretty, to_vec};
pub(crate) use encode::{go_double, print_string};
pub(crate) use parse::double;
pub use parse::{Doc, MAX_DEPTH, SyntaxError, parse};
