//! What every daemon has around its core: flags and configuration files, logs, metrics, health, TLS, API clients from
//! kubeconfigs, the clock and random numbers that tests control, shutdown.
//!
//! Invariant: knows no kind of the API beyond the token and access reviews that guard a daemon's own port.

pub mod clock;
pub mod duration;
pub mod feature_gates;
pub mod flags;
pub mod health;
pub mod kubeconfig;
pub mod logging;
pub mod metrics;
pub mod rng;
pub mod serving;
pub mod shutdown;
pub mod tls;
