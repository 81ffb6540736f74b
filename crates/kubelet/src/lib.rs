//! The node agent: makes the containers of this node what the pods bound to it ask for, and tells the API server what became of them.
//!
//! Everything outside the API is reached through two seams: [`runtime::Runtime`] (the container runtime, CRI) and
//! [`host::Host`] (files, mounts, cgroups, machine facts). A hollow node passes fakes for both.
//!
//! Invariant: decides nothing about which node a pod belongs to, and keeps no state of its own on disk that it could not
//! rebuild from the API server and the runtime.

mod agent;
pub mod certs;
pub mod config;
mod events;
mod hooks;
pub mod host;
mod images;
mod logs;
mod node;
mod objects;
pub mod options;
mod pod;
mod pods;
mod probes;
pub mod rotation;
mod run;
pub mod runtime;
mod server;
mod spec;
mod status;
mod upkeep;
mod volumes;

pub use config::Config;
pub use run::run;
