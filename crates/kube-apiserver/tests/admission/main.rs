//! Whom the server asks, through its front door and mostly in memory: policies, plugins, webhooks, other API servers.

mod aggregation;
mod audit;
mod conversion;
mod hooks;
mod identity;
mod mutating;
mod plugins;
mod server;
mod validating;
mod webhooks;
