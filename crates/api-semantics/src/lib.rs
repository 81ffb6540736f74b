//! What the API means: defaults, validation, conversion, patches, server-side apply, tables. Pure functions over JSON
//! values and schemas.
//!
//! Invariant: opens no socket and no file (but jiff's time zone database); reads no clock (times are arguments).

pub mod apply;
pub mod cel;
mod certificates;
mod checks;
mod convert;
mod defaults;
mod field;
mod go;
mod go_internal;
mod go_json;
mod groups;
mod kind;
mod names;
mod object_meta;
pub mod patch;
mod pod;
mod quantity;
mod selectors;
mod strategy;
pub mod structural;
pub mod table;
mod time;
mod unified_diff;
mod webhooks;

pub use convert::convert;
pub use groups::strategy_for;
pub use object_meta::check_labels_and_annotations;
pub use strategy::{Context, Part, Resets, Strategy, keep_other_parts};
