//! The service proxy of a node: makes the addresses of services lead to their endpoints.
//!
//! [`compile`] says, purely, what traffic goes where; [`iptables`] renders it as upstream's chains and finds the smallest change;
//! the loop applies one atomic change at a time through the [`sink`].
//!
//! Invariant: only the sink runs programs of the packet filter, and it touches no chain and no rule but the proxy's own.

pub mod compile;
pub mod config;
mod conntrack;
pub mod health;
pub mod iptables;
mod metrics;
pub mod model;
pub mod options;
mod proxier;
mod run;
pub mod sink;
mod sysctl;

pub use config::Config;
pub use run::{Sinks, clean_up, run, set_up};
