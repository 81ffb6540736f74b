//! The commands, a file or folder each.

pub mod apply;
pub mod certificate;
pub mod create;
pub mod delete;
pub mod get;
pub mod label;
pub mod patch;
pub mod report;
pub mod scale;
