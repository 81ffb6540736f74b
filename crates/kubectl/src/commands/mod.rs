//! The commands, a file or folder each.

pub mod get;
