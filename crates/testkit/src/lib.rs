//! What tests of whole clusters are made of: an in-process [`Cluster`] on a paused clock, a [`FakeRuntime`] at the CRI seam,
//! [builders], [`eventually`], the [`History`] of everything that was written, and the [checker] of what clients observed.
//!
//! ```no_run
//! use testkit::{Cluster, Options, simulate};
//!
//! let history = simulate(1, || async {
//!     let cluster = Cluster::start(Options { nodes: 3, ..Options::default() }).await.expect("it starts");
//!     cluster.stop().await
//! });
//! ```
//!
//! Invariant: fakes sit at the outermost seams only (container runtime, machine, transport, clock, randomness); every
//! component is the real one.

pub mod builders;
pub mod checker;
mod cluster;
mod entropy;
mod eventually;
mod history;
mod network;
mod runtime;
mod simulation;
mod twice;

pub use cluster::{Cluster, Options, SCHEDULER};
pub use eventually::eventually;
pub use history::{Entry, History, Recorder};
pub use network::{Fault, Network};
pub use runtime::{FakeRuntime, Script};
pub use simulation::{EPOCH, simulate};
pub use twice::assert_repeats;
