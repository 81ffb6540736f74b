//! Pure logic over API objects that more than one daemon needs: what a pod asks for, which class of service it gets,
//! which taints it tolerates, which nodes and labels a selector means, and how conditions are read and written.
//!
//! Invariant: pure; opens no file and no socket, reads no clock (the time is an argument).

pub mod conditions;
pub mod labels;
pub mod node_affinity;
pub mod nodes;
pub mod pods;
pub mod ports;
pub mod qos;
pub mod quantity;
pub mod resources;
pub mod taints;
