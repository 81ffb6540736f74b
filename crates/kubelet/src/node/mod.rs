//! The node object: registration, status, lease; and the health of the runtime.

pub(crate) mod addresses;
pub(crate) mod capacity;
pub(crate) mod health;
mod lease;
mod pressure;
mod register;
pub(crate) mod status;
pub(crate) mod sync;
