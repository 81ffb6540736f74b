//! The cloud controller manager: the shared loops of [`cloud_provider`], run for a cloud.
//!
//! Invariant: what is particular to a cloud is in its provider; here is only wiring.

pub mod local;
pub mod options;
mod run;

pub use run::run;
