//! Wiring: informers into the loop, the packet filter behind it, the ports beside it.

use std::sync::Arc;

use anyhow::Context;
use api_types::k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use component_base::{
    health::Checks,
    serving::{self, HealthPort},
};
use controller_runtime::{Event, Informers, Object, Selection, SharedInformer};
use kube::Client;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    health::Health,
    model::Family,
    options::Options,
    proxier::{Backend, Change, Proxier},
    sink::PacketFilter,
    sysctl,
};

/// Makes the packet filter of a family: iptables, or a fake in tests.
pub type Sinks<'a> = &'a (dyn Fn(Family) -> Arc<dyn PacketFilter> + Send + Sync);

/// Objects that another proxy serves, or that need none.
const OURS: &str = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name";

/// Runs the proxy until `shutdown`.
///
/// # Errors
/// Where a port cannot be opened.
pub async fn run(
    options: Options,
    client: Client,
    sinks: Sinks<'_>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let health = Health::new(tasks.clone(), shutdown.clone());
    if let Some(address) = options.healthz {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("listen on {address} for health checks"))?;
        tasks.spawn(serving::serve(listener, None, Arc::new(health.clone()), shutdown.clone()));
    }
    if let Some(address) = options.metrics {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address} for metrics"))?;
        let mode = serving::plain_page(|| "iptables".to_owned());
        let port = HealthPort { checks: Checks::with_ping(), guard: None, extra: vec![("/proxyMode", mode)] };
        tasks.spawn(serving::serve(listener, None, Arc::new(port), shutdown.clone()));
    }
    let (changes, inbox) = mpsc::unbounded_channel();
    let informers = Informers::new(client, tasks.clone(), shutdown.clone());
    let ours = || Selection::default().labels(OURS);
    feed(&informers.informer_of::<Service>(ours()), &changes, Change::Service);
    feed(&informers.informer_of::<EndpointSlice>(ours()), &changes, Change::Slice);
    let own = Selection::default().fields(&format!("metadata.name={}", options.proxy.node_name));
    feed(&informers.informer_of::<Node>(own), &changes, Change::Node);
    drop(changes);
    let backends = options.proxy.families.iter().map(|family| Backend::new(*family, sinks(*family))).collect();
    let proxier = Proxier::new(options.proxy, backends, health);
    proxier.run(inbox, informers.wait_for_sync(), shutdown.clone()).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Sets up what needs privileges: kernel parameters and the process's place in the order of out-of-memory kills.
pub fn set_up(options: &Options) {
    if options.proxy.localhost_node_ports && options.proxy.families.contains(&Family::V4) {
        // Lets packets from 127.0.0.1 leave by another interface once their destination was rewritten.
        sysctl::set("net/ipv4/conf/all/route_localnet", "1");
    }
    options.conntrack.apply();
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", options.oom_score.to_string()) {
        tracing::warn!(%error, "could not set the OOM score");
    }
}

/// Removes everything that the proxy made.
///
/// # Errors
/// Where a table cannot be read or written.
pub async fn clean_up(sinks: Sinks<'_>) -> anyhow::Result<()> {
    for family in [Family::V4, Family::V6] {
        sinks(family).clean_up().await.with_context(|| format!("clean up the {} tables", family.address_type()))?;
    }
    Ok(())
}

fn feed<K: Object>(
    informer: &SharedInformer<K>,
    changes: &mpsc::UnboundedSender<Change>,
    change: fn(Event<K>) -> Change,
) {
    let changes = changes.clone();
    informer.on_event(move |event| {
        // The loop is gone only at shutdown.
        let _ = changes.send(change(event.clone()));
    });
}
