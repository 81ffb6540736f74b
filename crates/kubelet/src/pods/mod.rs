//! The pods of this node: where they come from, one worker for each, and what it does.

pub mod actions;
pub mod admission;
pub mod backoff;
pub mod dispatch;
pub mod housekeeping;
pub mod mirror;
pub mod pleg;
mod start;
pub mod static_pods;
mod stop;
mod sync;
pub mod table;
mod worker;
