//! The scheduler: finds a node for each pod that has none.
//!
//! The decision ([`schedule::schedule`]) is a pure function of the [`cache::Snapshot`] and the pod; plugins make it up. Around it: the queue of waiting
//! pods, the cache with assumed pods, and the binder, which alone writes.
//!
//! Invariant: knows of the cluster only what the API server says, and of the API server only through the client.

mod binder;
pub mod cache;
pub mod config;
mod desk;
pub mod explain;
pub mod extender;
pub mod framework;
mod metrics;
pub mod options;
pub mod plugins;
pub mod queue;
mod run;
pub mod schedule;
mod scheduler;

pub use config::Config;
pub use run::{Process, run};
