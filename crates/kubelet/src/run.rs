//! Wires the parts together and runs them until shutdown.

use crate::config::Config;
use crate::host::Host;
use crate::runtime::Runtime;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the kubelet until `shutdown`. Without a client it is standalone: static pods only.
pub async fn run(
    config: Config,
    _client: Option<kube::Client>,
    runtime: Arc<dyn Runtime>,
    host: Arc<dyn Host>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let machine = host.machine().await?;
    let version = runtime.version().await?;
    tracing::info!(node = %config.node.name, cpus = machine.cpus, runtime = %version.runtime_name, "starting");
    shutdown.cancelled().await;
    Ok(())
}
