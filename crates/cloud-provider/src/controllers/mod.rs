//! The shared loops.

mod node;
mod node_lifecycle;
mod route;
mod service;

use std::{sync::Arc, time::Duration};

use controller_runtime::{EventRecorder, Informers};
use kube::Client;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::Cloud;

/// What every loop gets.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The watches of the process.
    pub informers: Informers,
    /// The events of the process.
    pub recorder: EventRecorder,
    /// The cloud.
    pub cloud: Arc<dyn Cloud>,
    /// How often routes are compared.
    pub route_period: Duration,
    /// How often nodes that are not ready are looked up in the cloud.
    pub node_monitor_period: Duration,
    /// How often the addresses of nodes are compared.
    pub node_status_period: Duration,
    /// How many services are worked on at once.
    pub service_workers: usize,
    /// How many nodes are worked on at once.
    pub node_workers: usize,
    /// Where loops run.
    pub tasks: TaskTracker,
    /// When they end.
    pub shutdown: CancellationToken,
}

/// One line of the table of loops.
pub struct Controller {
    /// Upstream's name of it, for `--controllers`.
    pub name: &'static str,
    /// Starts its tasks.
    pub start: fn(&Context),
}

/// Every loop.
#[must_use]
pub fn all() -> &'static [Controller] {
    const ALL: &[Controller] = &[
        Controller { name: "cloud-node-controller", start: node::start },
        Controller { name: "cloud-node-lifecycle-controller", start: node_lifecycle::start },
        Controller { name: "node-route-controller", start: route::start },
        Controller { name: "service-lb-controller", start: service::start },
    ];
    ALL
}

/// Runs `work` now and then every `period`, or when `wake` is told, until shutdown.
async fn repeat<F, Fut>(period: Duration, wake: Arc<tokio::sync::Notify>, shutdown: CancellationToken, work: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()>,
{
    loop {
        work().await;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}
