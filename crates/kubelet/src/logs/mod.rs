//! Container logs in the CRI's format: reading and rotation.

mod line;
pub mod reader;
pub mod rotate;

pub use line::tail_text;
