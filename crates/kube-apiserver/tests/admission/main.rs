//! Admission through the server's front door, in memory: policies and plugins.

mod mutating;
mod plugins;
mod server;
mod validating;
