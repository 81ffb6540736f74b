//! Rules as iptables chains: names, rendering, and the difference that is applied.

mod chains;
mod render;
mod state;
mod top;

pub use chains::{endpoint_chain, service_chain};
pub(crate) use render::contains;
pub use render::{Fragment, LocalTraffic, Settings, render};
pub use state::{Change, State, Table};
pub use top::{JUMPS, Jump, OWN_CHAINS, base};
