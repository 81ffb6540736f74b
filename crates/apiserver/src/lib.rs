//! The generic API server: the chain of filters, verbs, negotiation, registry, cacher, admission, discovery.
//!
//! Invariant: knows no kind. Kinds come in as descriptors (built-in table or CRDs), behaviour as `Strategy`.

pub mod admission;
pub mod aggregation;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod cache;
pub mod catalog;
pub mod chain;
pub mod codec;
mod conditional;
mod continue_token;
pub mod conversion;
pub mod discovery;
pub mod documents;
pub mod error;
pub mod fairness;
pub mod health;
mod list_body;
pub mod local;
pub mod meta;
pub mod metrics;
pub mod model;
pub mod negotiate;
pub mod openapi;
pub mod options;
pub mod query;
pub mod registry;
pub mod request_info;
pub mod respond;
pub mod selector;
pub mod server;
mod snapshot;
mod storage_metrics;
pub mod table;
pub mod user;
pub mod verbs;
pub mod warnings;
