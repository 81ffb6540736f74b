//! The process: the secure port, leader election, the controllers.

use std::sync::Arc;

use anyhow::bail;
use component_base::health;
use controller_runtime::{EventRecorder, EventSource, Informers, LeaderConfig, run_as_leader};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Clients, Config,
    context::{Context, Shared},
    discovery::Discovery,
    pods,
};

/// How long controllers may take to finish what they do at shutdown.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs the controllers (as leader, when asked) until `shutdown`. An error when leadership was lost.
pub async fn run(mut config: Config, clients: Clients, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let checks = health::Checks::with_ping();
    if let Some(port) = config.secure_port.take() {
        port.serve(clients.own(), checks, Vec::new(), &tasks, shutdown.clone()).await?;
    }
    let config = Arc::new(config);
    let result = match &config.leader_election {
        None => lead(config.clone(), clients, shutdown.clone()).await,
        Some(election) => {
            let leader = LeaderConfig {
                namespace: election.namespace.clone(),
                name: election.name.clone(),
                identity: identity(),
                lease_duration: election.lease_duration,
                renew_deadline: election.renew_deadline,
                retry_period: election.retry_period,
            };
            let client = clients.own().clone();
            match run_as_leader(client, leader, shutdown.clone(), |token| lead(config.clone(), clients, token)).await {
                Ok(result) => result.unwrap_or(Ok(())),
                Err(lost) => Err(lost.into()),
            }
        }
    };
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    result
}

fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), component_base::rng::uuid())
}

async fn lead(config: Arc<Config>, clients: Clients, shutdown: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let own = clients.own().clone();
    let shared = Shared {
        informers: Informers::new(own.clone(), tasks.clone(), shutdown.clone()),
        recorder: EventRecorder::new(own.clone(), EventSource::default(), &tasks, shutdown.clone()),
        discovery: Discovery::new(own),
        config: config.clone(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    };
    shared.informers.trim(pods::trim);
    for controller in &config.controllers {
        tracing::info!(controller = controller.name, "starting");
        let client = clients.service_account(controller.service_account);
        let context = Context::new(controller.name, client, shared.clone());
        if let Err(error) = (controller.start)(&context) {
            bail!("cannot start {}: {error}", controller.name);
        }
    }
    shutdown.cancelled().await;
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!(running = tasks.len(), "controllers did not finish in time");
    }
    Ok(())
}
