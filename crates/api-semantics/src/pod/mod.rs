//! What every kind that contains a pod shares.

pub(crate) mod defaults;
pub(crate) mod qos;
pub(crate) mod resources;
