//! Pod status: computed in [`generate`], written to the API by [`manager`] alone.

pub(crate) mod conditions;
pub(crate) mod containers;
pub(crate) mod generate;
pub(crate) mod manager;
