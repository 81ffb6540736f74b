//! What the API means: defaults, validation, conversion, patches, server-side apply, tables. Pure functions over JSON
//! values and schemas.
//!
//! Invariant: opens no file and no socket; reads no clock (times are arguments).

mod strategy;

pub use strategy::{Part, Strategy, keep_other_parts};
