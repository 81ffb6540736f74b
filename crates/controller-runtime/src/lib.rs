//! What every controller of the cluster is made of: shared informers with indexed stores, a rate-limited work queue, workers,
//! expectations, leader election by Lease, events, and owner references.
//!
//! The usual shape of a controller:
//!
//! 1. take informers from one [`Informers`] factory (one watch per kind and selection in a process, however many ask),
//! 2. translate informer events into keys on a [`WorkQueue`],
//! 3. [`run_workers`] with a `reconcile(key)` that re-reads the stores and acts.
//!
//! Everything runs on tokio's clock and `component_base::{clock, rng}`, in ordered maps, with tracked tasks: on a current-thread
//! runtime with the clock paused the same seed gives the same history.
//!
//! Invariant: knows no kind beyond Lease and Event, and opens no connection of its own: the client is given.

pub mod backoff;
pub mod events;
mod expectations;
mod informer;
mod key;
mod leader;
mod metrics;
pub mod owner;
mod queue;
mod runner;
mod store;

pub use events::{EventRecorder, EventSource, EventType};
pub use expectations::Expectations;
pub use informer::{Event, Informers, Object, Selection, SharedInformer};
pub use key::ObjectKey;
pub use leader::{LeaderConfig, LeaderError, run_as_leader};
pub use queue::WorkQueue;
pub use runner::{Action, BoxError, Outcome, run_workers};
pub use store::Store;
