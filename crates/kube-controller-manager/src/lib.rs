//! The kube-controller-manager: one table of controllers ([`controllers::all`]), each a folder that says what it watches, decides in a
//! pure `plan`, and applies the plan through the API with its own service account's identity.
//!
//! Invariant: talks to nothing but the API server, and keeps no state that it could not read again.

mod clients;
pub mod config;
mod context;
pub mod controllers;
mod discovery;
mod hash;
mod history;
pub mod options;
mod pods;
pub mod run;

pub use clients::Clients;
pub use config::Config;
pub use run::run;
