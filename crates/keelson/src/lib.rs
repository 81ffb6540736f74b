//! Local clusters on one machine: keys, network, nodes as network namespaces each with its own containerd, images, supervision
//! of the processes, and faults to try them with.
//!
//! Invariant: contains nothing of Kubernetes itself; it writes files and starts the other binaries.

mod bootstrap;
pub mod cgroups;
mod command;
pub mod components;
mod containerd;
pub mod down;
pub mod images;
mod network;
mod pki;
mod progress;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod supervisor;
pub mod up;
