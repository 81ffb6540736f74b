//! Admission through the server's front door, in memory: policies, plugins and webhooks.

mod conversion;
mod hooks;
mod mutating;
mod plugins;
mod server;
mod validating;
mod webhooks;
