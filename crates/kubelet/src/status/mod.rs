//! Pod status: computed in [`generate`], written to the API by [`manager`] alone.

pub mod conditions;
pub mod containers;
pub mod generate;
pub mod manager;
