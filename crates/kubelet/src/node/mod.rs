//! The node object: registration, status, lease; and the health of the runtime.

pub mod addresses;
pub mod capacity;
pub mod health;
mod lease;
mod pressure;
mod register;
pub mod status;
pub mod sync;
