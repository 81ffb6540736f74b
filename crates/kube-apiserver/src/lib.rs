//! kube-apiserver: the built-in kinds over the generic API server, and the process around it.
//!
//! Invariant: the generic verbs live in `apiserver`; here are only tables, and what single kinds need.

mod admission;
mod aggregator;
pub mod auth;
mod behaviours;
mod bootstrap;
mod cell;
mod conditions;
pub mod config;
pub mod connect;
mod convert;
mod custom;
mod documents;
pub mod encryption;
mod endpoints;
mod fields;
mod flowcontrol;
mod https;
pub mod ip_range;
mod kinds;
pub mod options;
pub mod run;
mod runtime_config;
mod service_address;
mod webhook_client;
