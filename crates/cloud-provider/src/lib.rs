//! The cloud, as the cluster needs it, and the loops that every cloud shares.
//!
//! A provider implements [`Cloud`]: instances, routes, load balancers, each if it has them. The loops in [`controllers`] keep nodes,
//! routes and services of type LoadBalancer in step with it. Each loop decides in a pure `plan` and then acts.
//!
//! Invariant: knows no cloud.

pub mod controllers;
mod provider;

pub use provider::{Cloud, CloudError, InstanceMetadata, Instances, LoadBalancers, Route, Routes};
