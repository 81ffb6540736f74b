//! What every part of a running kubelet shares.

mod node_state;

use crate::config::Config;
use crate::events::Events;
use crate::host::{Host, Machine};
use crate::images::Images;
use crate::objects::Objects;
use crate::pods::backoff::Backoff;
use crate::pods::table::PodTable;
use crate::probes::Probes;
use crate::runtime::Runtime;
use crate::spec::dns::NodeDns;
use crate::spec::security::NodeSecurity;
use crate::status::manager::StatusManager;
use api_types::k8s_openapi::api::core::v1::Service;
use controller_runtime::SharedInformer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use node_state::NodeState;

/// The first delay of a container that crashes again and again.
const CRASH_BACKOFF: Duration = Duration::from_secs(10);

/// One running kubelet.
pub(crate) struct Agent {
    /// What it was told.
    pub config: Config,
    /// The API server; none in standalone mode.
    pub client: Option<kube::Client>,
    /// The container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// Facts about the machine.
    pub machine: Machine,
    /// "containerd", the scheme of container ids in statuses.
    pub runtime_name: String,
    /// Version of the runtime.
    pub runtime_version: String,
    /// Event recorder.
    pub events: Events,
    /// Pod statuses.
    pub statuses: Arc<StatusManager>,
    /// ConfigMaps, Secrets, tokens.
    pub objects: Arc<Objects>,
    /// Image pulls.
    pub images: Images,
    /// Probes.
    pub probes: Arc<Probes>,
    /// Delays of crashing containers.
    pub crashes: Backoff,
    /// All services, for environment variables.
    pub services: Option<SharedInformer<Service>>,
    /// What is known of the own node.
    pub node: NodeState,
    /// The node's part of DNS.
    pub dns: NodeDns,
    /// The node's part of security.
    pub security: NodeSecurity,
    /// The pods.
    pub pods: PodTable,
    /// UIDs of pods to look at.
    pub pokes: mpsc::UnboundedSender<String>,
    /// Everything that runs.
    pub tasks: TaskTracker,
    /// The end.
    pub shutdown: CancellationToken,
}

/// What an agent is made from.
pub(crate) struct Parts {
    /// What it was told.
    pub config: Config,
    /// The API server.
    pub client: Option<kube::Client>,
    /// The container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The machine.
    pub host: Arc<dyn Host>,
    /// Event recorder.
    pub events: Events,
    /// Service informer.
    pub services: Option<SharedInformer<Service>>,
    /// Where UIDs of pods to look at go.
    pub pokes: mpsc::UnboundedSender<String>,
    /// Everything that runs.
    pub tasks: TaskTracker,
    /// The end.
    pub shutdown: CancellationToken,
}

impl Agent {
    /// Asks machine and runtime what they are, and puts the parts together.
    pub(crate) async fn new(parts: Parts) -> anyhow::Result<Arc<Self>> {
        let Parts { config, client, runtime, host, events, services, pokes, tasks, shutdown } = parts;
        let machine = host.machine().await?;
        let version = runtime.version().await?;
        let statuses = StatusManager::new(client.clone());
        let objects = Arc::new(Objects::new(client.clone()));
        let probes = Probes::new(
            runtime.clone(),
            events.clone(),
            statuses.clone(),
            pokes.clone(),
            tasks.clone(),
            shutdown.clone(),
        );
        Ok(Arc::new(Self {
            images: Images::new(runtime.clone(), events.clone(), objects.clone(), &config.upkeep),
            crashes: Backoff::new(CRASH_BACKOFF, config.crash_backoff_max),
            node: NodeState::new(&config, &machine),
            dns: node_dns(&config, host.as_ref()).await?,
            security: NodeSecurity {
                seccomp_root: config.paths.root.join("seccomp"),
                seccomp_default: config.seccomp_default,
            },
            pods: PodTable::default(),
            runtime_name: version.runtime_name,
            runtime_version: version.runtime_version,
            config,
            client,
            runtime,
            host,
            machine,
            events,
            statuses,
            objects,
            probes,
            services,
            pokes,
            tasks,
            shutdown,
        }))
    }

    /// The pod is to be looked at.
    pub(crate) fn poke(&self, uid: &str) {
        // The receiver ends with the kubelet only.
        let _ended = self.pokes.send(uid.to_owned());
    }
}

async fn node_dns(config: &Config, host: &dyn Host) -> anyhow::Result<NodeDns> {
    let own = match &config.paths.resolv_conf {
        Some(path) => host.read(path).await?.unwrap_or_default(),
        None => Vec::new(),
    };
    Ok(NodeDns {
        cluster: config.cluster_dns.clone(),
        domain: config.cluster_domain.clone(),
        host: crate::spec::dns::parse(&String::from_utf8_lossy(&own)),
    })
}
