//! The generic API server: the chain of filters, verbs, negotiation, registry, cacher, admission, discovery.
//!
//! Invariant: knows no kind. Kinds come in as descriptors (built-in table or CRDs), behaviour as `Strategy`.

pub mod authn;
pub mod authz;
pub mod user;
