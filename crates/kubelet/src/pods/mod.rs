//! The pods of this node: where they come from, one worker for each, and what it does.

pub mod actions;
pub mod backoff;
