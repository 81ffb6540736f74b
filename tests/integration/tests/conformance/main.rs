//! What upstream's conformance suite asks of an API server and its controllers where no node is needed, a file per area. Scenarios run
//! with bodies in JSON and in protobuf, which is what the suite's client speaks.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod accounts;
mod definitions;
mod discovery;
mod lifecycle;
mod network;
mod objects;
mod quotas;
mod session;
mod watching;
