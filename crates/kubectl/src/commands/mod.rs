//! The commands, a file or folder each.

pub mod api;
pub mod apply;
pub mod auth;
pub mod certificate;
pub mod config;
pub mod cp;
pub mod create;
pub mod delete;
pub mod describe;
pub mod drain;
pub mod edit;
pub mod events;
pub mod exec;
pub mod explain;
pub mod explain_pending;
pub mod get;
pub mod label;
pub mod logs;
pub mod patch;
pub mod port_forward;
pub mod report;
pub mod rollout;
pub mod run;
pub mod scale;
pub mod set;
pub mod wait;
