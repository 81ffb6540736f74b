//! The flags of kube-apiserver, as they were given.

pub use component_base::flags::Flags;

/// Upstream's flags and our own; see the file for the columns.
pub const FLAGS: &str = include_str!("flags.txt");
