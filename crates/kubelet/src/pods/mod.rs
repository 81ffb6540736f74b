//! The pods of this node: where they come from, one worker for each, and what it does.

pub(crate) mod actions;
pub(crate) mod admission;
pub(crate) mod backoff;
pub(crate) mod dispatch;
pub(crate) mod housekeeping;
pub(crate) mod mirror;
pub(crate) mod pleg;
pub(crate) mod resize;
mod start;
pub(crate) mod static_pods;
mod stop;
mod sync;
pub(crate) mod table;
mod worker;
