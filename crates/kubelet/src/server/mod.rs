//! The kubelet's own HTTP API.

use crate::agent::Agent;
use std::sync::Arc;

/// Starts the servers.
pub async fn start(_agent: &Arc<Agent>) -> anyhow::Result<()> {
    Ok(())
}
