//! The default roles and bindings: a table ([`parse`]), and what brings a cluster into agreement with it at start.
//!
//! Upstream's rules: missing objects are created; of existing ones, missing rules, subjects, labels and annotations are
//! added and nothing is taken away; an object whose autoupdate annotation is not "true" is left alone; a binding to
//! another role is recreated.

mod parse;
mod reconcile;

pub(crate) use parse::Policy;
pub(crate) use reconcile::reconcile;
