//! Work that comes round: rotating logs, removing unused images.

use crate::agent::Agent;
use crate::images::gc::ImageHistory;
use crate::logs::rotate;
use k8s_cri::v1::{ContainerFilter, ContainerState, ContainerStateValue};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const IMAGE_GC: Duration = Duration::from_secs(300);

/// Removes unused images until shutdown.
pub(crate) async fn images(agent: Arc<Agent>) {
    let mut history = ImageHistory::default();
    loop {
        let done = agent.images.collect_garbage(agent.host.as_ref(), &agent.config.upkeep, &mut history).await;
        if let Err(error) = done {
            tracing::warn!(%error, "image garbage collection failed");
        }
        tokio::time::sleep(IMAGE_GC).await;
    }
}

/// Rotates container logs until shutdown.
pub(crate) async fn logs(agent: Arc<Agent>) {
    loop {
        tokio::time::sleep(agent.config.upkeep.log_monitor).await;
        if let Err(error) = rotate_all(&agent).await {
            tracing::warn!(%error, "log rotation failed");
        }
    }
}

async fn rotate_all(agent: &Agent) -> anyhow::Result<()> {
    let state = Some(ContainerStateValue { state: ContainerState::ContainerRunning.into() });
    let filter = ContainerFilter { state, ..ContainerFilter::default() };
    for container in agent.runtime.list_containers(Some(filter)).await? {
        let status = match agent.runtime.container_status(&container.id).await {
            Err(error) if error.is_not_found() => continue,
            answer => answer?,
        };
        let path = Path::new(&status.log_path);
        let size = agent.host.size(path).await?.unwrap_or(0);
        if status.log_path.is_empty() || size <= agent.config.upkeep.log_max_size {
            continue;
        }
        rotate::rotate(agent.host.as_ref(), path, agent.config.upkeep.log_max_files).await?;
        agent.runtime.reopen_container_log(&container.id).await?;
    }
    Ok(())
}
