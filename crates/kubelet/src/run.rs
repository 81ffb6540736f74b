//! Wires the parts together and runs them until shutdown.

use crate::agent::{Agent, Parts};
use crate::config::Config;
use crate::events::Events;
use crate::host::{CgroupLimits, Host};
use crate::node;
use crate::pods::dispatch::{self, News};
use crate::pods::{housekeeping, pleg, static_pods};
use crate::runtime::Runtime;
use crate::server;
use crate::spec::resources;
use crate::upkeep;
use anyhow::{Context as _, bail};
use api_types::k8s_openapi::api::core::v1::{Node, Pod, Service, ServiceSpec};
use controller_runtime::{Event, EventRecorder, EventSource, Informers, Selection, SharedInformer};
use k8s_cri::v1::CgroupDriver;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long after a failed try the runtime is asked again at the start.
const RUNTIME_RETRY: Duration = Duration::from_secs(1);
/// How long open requests may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the kubelet until `shutdown`. Without a client it is standalone: static pods only.
pub async fn run(
    config: Config,
    client: Option<kube::Client>,
    runtime: Arc<dyn Runtime>,
    host: Arc<dyn Host>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let running = start(config, client, runtime, host, &tasks, shutdown.clone());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        started = running => {
            started?;
            shutdown.cancelled().await;
        }
    }
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    Ok(())
}

async fn start(
    config: Config,
    client: Option<kube::Client>,
    runtime: Arc<dyn Runtime>,
    host: Arc<dyn Host>,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    wait_for_runtime(runtime.as_ref()).await?;
    let (pokes, poked) = mpsc::unbounded_channel();
    let informers = client.clone().map(|client| informers(client, tasks, &shutdown));
    let source = || EventSource { component: "kubelet".into(), host: Some(config.node.name.clone()) };
    let recorder = client.clone().map(|client| EventRecorder::new(client, source(), tasks, shutdown.clone()));
    let events = Events::new(recorder, &config.node.name);
    let services = informers.as_ref().map(Informers::informer);
    let tasks = tasks.clone();
    let agent = Agent::new(Parts { config, client, runtime, host, events, services, pokes, tasks, shutdown }).await?;
    cgroup_root(&agent).await.context("create the cgroup of all pods")?;
    node::sync::set_addresses(&agent);
    let (news, from_sources) = mpsc::unbounded_channel();
    let (files_read, files) = oneshot::channel();
    match agent.config.paths.static_pods.clone() {
        Some(path) => spawn(&agent, static_pods::run(agent.clone(), path, news.clone(), files_read)),
        // The sender of a source that is not there: it has been read.
        None => drop(files_read),
    }
    spawn(&agent, dispatch::run(agent.clone(), news.clone(), from_sources, poked));
    spawn(&agent, agent.statuses.clone().run(agent.shutdown.clone()));
    let has_events = Arc::new(AtomicBool::new(false));
    spawn(&agent, pleg::relist(agent.clone(), has_events.clone()));
    spawn(&agent, pleg::events(agent.clone(), has_events));
    spawn(&agent, node::health::run(agent.clone()));
    if let Some(client) = agent.client.clone() {
        spawn(&agent, node::sync::run(agent.clone(), client));
    }
    spawn(&agent, upkeep::images(agent.clone()));
    spawn(&agent, upkeep::logs(agent.clone()));
    server::start(&agent).await?;
    spawn(&agent, sources(agent.clone(), informers, news, files));
    Ok(())
}

/// Runs a part until shutdown.
fn spawn(agent: &Agent, part: impl Future<Output = ()> + Send + 'static) {
    let shutdown = agent.shutdown.clone();
    agent.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = part => {}
        }
    });
}

/// Waits for the runtime, and refuses one that keeps cgroups in another way than this kubelet.
async fn wait_for_runtime(runtime: &dyn Runtime) -> anyhow::Result<()> {
    while let Err(error) = runtime.version().await {
        tracing::warn!(%error, "the container runtime does not answer yet");
        tokio::time::sleep(RUNTIME_RETRY).await;
    }
    if runtime.cgroup_driver().await? == Some(CgroupDriver::Systemd) {
        bail!("the container runtime uses the systemd cgroup driver; this kubelet supports cgroupfs only");
    }
    Ok(())
}

/// Informers that hold no more than the kubelet reads.
fn informers(client: kube::Client, tasks: &TaskTracker, shutdown: &CancellationToken) -> Informers {
    let informers = Informers::new(client, tasks.clone(), shutdown.clone());
    informers.trim::<Pod>(|pod| {
        // Whatever the pod says of itself: it came from the API.
        let notes = pod.metadata.annotations.get_or_insert_default();
        notes.insert(crate::pod::SOURCE.into(), crate::pod::SOURCE_API.into());
    });
    informers.trim::<Service>(|service| {
        service.metadata.annotations = None;
        service.metadata.labels = None;
        service.status = None;
        service.spec = service.spec.take().map(|spec| ServiceSpec {
            cluster_ip: spec.cluster_ip,
            ports: spec.ports,
            ..ServiceSpec::default()
        });
    });
    informers
}

/// `kubepods` and the QoS classes below it.
async fn cgroup_root(agent: &Agent) -> std::io::Result<()> {
    let config = &agent.config.cgroups;
    if !config.per_qos {
        return Ok(());
    }
    let allocatable = agent.node.allocatable();
    let mut limits = CgroupLimits::default();
    if config.enforce_pods {
        limits.cpu_shares = allocatable.get("cpu").map(|milli| resources::shares(*milli) as u64);
        // What is kept back for eviction is not taken from the pods' limit.
        limits.memory = i64::try_from(agent.machine.memory).ok();
    }
    agent.host.ensure_cgroup(&resources::kubepods(config), &limits).await?;
    for class in ["burstable", "besteffort"] {
        let limits = CgroupLimits { cpu_shares: Some(2), ..CgroupLimits::default() };
        agent.host.ensure_cgroup(&format!("{}/{class}", resources::kubepods(config)), &limits).await?;
    }
    Ok(())
}

/// Connects the API's pods to the dispatcher, and starts to clear away once every source has been read.
async fn sources(
    agent: Arc<Agent>,
    informers: Option<Informers>,
    news: mpsc::UnboundedSender<News>,
    files: oneshot::Receiver<()>,
) {
    if let Some(informers) = informers {
        watch_node(&agent, &informers).await;
        if let Some(services) = &agent.services {
            services.synced().await;
        }
        let mine = Selection::default().fields(&format!("spec.nodeName={}", agent.config.node.name));
        let pods: SharedInformer<Pod> = informers.informer_of(mine);
        pods.on_event(move |event| {
            let item = match event {
                Event::Deleted(pod) => News::Gone(pod.clone()),
                other => News::Pod(other.object().clone()),
            };
            // The receiver ends with the kubelet only.
            let _ended = news.send(item);
        });
        pods.synced().await;
    }
    // An error means that there is no such source.
    let _no_files = files.await;
    housekeeping::run(agent).await;
}

async fn watch_node(agent: &Arc<Agent>, informers: &Informers) {
    let own = Selection::default().fields(&format!("metadata.name={}", agent.config.node.name));
    let informer: SharedInformer<Node> = informers.informer_of(own);
    let weak = Arc::downgrade(agent);
    informer.on_event(move |event| {
        if let (Some(agent), false) = (weak.upgrade(), event.is_deleted()) {
            agent.node.set_object(event.object().clone());
        }
    });
    informer.synced().await;
}
