//! The process: the port, leader election, the provider, the loops.

use std::sync::Arc;

use anyhow::Context as _;
use api_types::k8s_openapi::api::core::v1::Service;
use cloud_provider::controllers::Context;
use component_base::health::Checks;
use controller_runtime::{EventRecorder, EventSource, Informers, LeaderError, run_as_leader};
use kube::Client;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    local::{Local, Network},
    options::Options,
};

/// Runs the loops (as leader, when asked) until `shutdown`.
///
/// # Errors
/// Where the provider's configuration cannot be used, the port cannot be opened, or the lease is lost.
pub async fn run(
    mut options: Options,
    client: Client,
    network: Arc<dyn Network>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    if let Some(port) = options.port.take() {
        port.serve(&client, Checks::with_ping(), Vec::new(), &tasks, shutdown.clone()).await?;
    }
    let result = match options.leader.take() {
        None => lead(options, client, network, shutdown.clone()).await,
        Some(mut election) => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
            election.identity = format!("{}_{}", host.trim(), election.identity);
            let work = |leading| lead(options, client.clone(), network, leading);
            match run_as_leader(client.clone(), election, shutdown.clone(), work).await {
                Ok(result) => result.unwrap_or(Ok(())),
                Err(lost @ LeaderError::Lost { .. }) => Err(lost.into()),
            }
        }
    };
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    result
}

async fn lead(
    options: Options,
    client: Client,
    network: Arc<dyn Network>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let informers = Informers::new(client.clone(), tasks.clone(), shutdown.clone());
    let services = informers.informer::<Service>();
    informers.informer::<api_types::k8s_openapi::api::core::v1::Node>();
    let cloud = Local::new(options.cloud_config, network, services.store().clone()).context("--cloud-config")?;
    let cloud = Arc::new(cloud);
    // Which addresses are taken is known only once all services are.
    if informers.wait_for_sync().await {
        let context = Context {
            client: client.clone(),
            informers,
            recorder: EventRecorder::new(client, EventSource::default(), &tasks, shutdown.clone()),
            cloud: cloud.clone(),
            route_period: options.route_period,
            node_monitor_period: options.node_monitor_period,
            node_status_period: options.node_status_period,
            service_workers: options.service_workers,
            node_workers: options.node_workers,
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        for controller in &options.controllers {
            tracing::info!(controller = controller.name, "starting");
            (controller.start)(&context);
        }
        cloud.watch_over(shutdown.clone()).await;
    }
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(std::time::Duration::from_secs(10), tasks.wait()).await.is_err() {
        tracing::warn!(running = tasks.len(), "loops did not finish in time");
    }
    Ok(())
}
