//! Container logs in the CRI's format: reading and rotation.

mod line;
pub(crate) mod reader;
pub(crate) mod rotate;

pub(crate) use line::tail_text;
