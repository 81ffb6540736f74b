//! Multiplexed streams over one upgraded HTTP connection: what `exec`, `attach` and `port-forward` run on.
//!
//! Kubernetes speaks two protocols for this. **SPDY/3.1** is the old one (kubelets, container runtimes up to today, and older
//! clients); **WebSocket** with a channel byte per message (`v4`/`v5.channel.k8s.io`) is the new one between clients and the API
//! server. Port forwarding over WebSocket is a SPDY connection inside one (`SPDY/3.1+portforward.k8s.io`).
//!
//! - [`upgrade`]: the HTTP upgrade on either side, reverse-proxying of upgrades, and [`tunnel`] of raw bytes;
//! - [`spdy`]: frames, connection and streams of SPDY/3.1;
//! - [`websocket`]: channels over WebSocket messages, and a byte stream over them;
//! - [`remotecommand`]: stdin/stdout/stderr/error/resize over either, and the translator between them;
//! - [`portforward`]: pairs of data and error streams over SPDY.
//!
//! **Invariant:** opens no socket and knows no Kubernetes object: callers bring connected, authenticated byte streams.

pub mod portforward;
pub mod remotecommand;
pub mod spdy;
pub mod upgrade;
pub mod websocket;

pub use upgrade::{Body, BoxedIo, Io, forward, tunnel};
