//! A whole cluster in one thread: API server, controllers, scheduler and hollow nodes, each with its own identity over
//! connections in memory. Authentication, RBAC and the Node authorizer are on.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use apiserver::{
    local::Local,
    user::{ALL_AUTHENTICATED, MASTERS, UserInfo},
};
use component_base::flags::Flags;
use kube::Client;
use kube_apiserver::run::ApiServer;
use kube_controller_manager::Clients;
use kubelet::host::hollow::HollowHost;
use storage::{Store, embedded::Embedded};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    eventually,
    history::{History, Recorder},
    network::Network,
    runtime::FakeRuntime,
};

const NODES: &str = "system:nodes";
/// The scheduler's identity.
pub const SCHEDULER: &str = "system:kube-scheduler";
const GIB: u64 = 1 << 30;
/// How long the API server may take to become ready.
const START: Duration = Duration::from_secs(60);
/// What pods find as the cluster's CA. Nobody connects by TLS here, so nobody reads it.
const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----\naG9sbG93\n-----END CERTIFICATE-----\n";

/// What the cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes there are; their names are `node-0`, `node-1`, ...
    pub nodes: usize,
    /// The size of each node.
    pub cpus: u64,
    pub memory: u64,
    /// Flags of the API server beside those that it needs here.
    pub apiserver_flags: Vec<String>,
    /// Flags of the controller manager, likewise.
    pub controller_manager_flags: Vec<String>,
    /// Only the API server is there: no controllers, no scheduler but those that the test starts.
    pub bare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 1,
            cpus: 8,
            memory: 32 * GIB,
            apiserver_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            bare: false,
        }
    }
}

/// A running cluster.
pub struct Cluster {
    pub api: ApiServer,
    options: Options,
    store: Arc<dyn Store>,
    recorder: Recorder,
    nodes: BTreeMap<String, HollowNode>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Keys of service account tokens; removed with the cluster.
    files: TempDir,
}

/// A node without a machine.
struct HollowNode {
    runtime: FakeRuntime,
    running: CancellationToken,
}

// === impl Cluster ===

impl Cluster {
    /// Starts everything; the nodes register in their own time.
    ///
    /// # Errors
    /// If a component can't be started.
    pub async fn start(options: Options) -> Result<Self> {
        let shutdown = CancellationToken::new();
        let store: Arc<dyn Store> = Arc::new(Embedded::in_memory());
        let recorder = Recorder::start(store.as_ref()).await?;
        let files = key_files()?;
        let config = kube_apiserver::config::Config::from_flags(&apiserver_flags(&files, &options)?)?;
        let api = kube_apiserver::run::build(&config, store.clone(), shutdown.clone()).await?;
        let mut cluster =
            Self { api, store, recorder, nodes: BTreeMap::new(), tasks: TaskTracker::new(), shutdown, files, options };
        cluster.wait_ready().await;
        if !cluster.options.bare {
            cluster.start_controller_manager()?;
            let process = kube_scheduler::Process { leader: None, port: None };
            let client = cluster.client(SCHEDULER, &[]);
            cluster.start_scheduler(client, process, cluster.shutdown.clone());
        }
        for number in 0..cluster.options.nodes {
            cluster.start_node(&format!("node-{number}"));
        }
        Ok(cluster)
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client("admin", &[MASTERS])
    }

    /// A client with this identity.
    pub fn client(&self, user: &str, groups: &[&str]) -> Client {
        let groups: Vec<_> = groups.iter().copied().chain([ALL_AUTHENTICATED]).collect();
        self.api.client_as(UserInfo::new(user, &groups))
    }

    /// A client with this identity behind a network that can fail.
    pub fn client_behind(&self, network: &Network, user: &str, groups: &[&str]) -> Client {
        let groups: Vec<_> = groups.iter().copied().chain([ALL_AUTHENTICATED]).collect();
        network.client(Local::new(self.api.server.clone(), Some(UserInfo::new(user, &groups))))
    }

    /// A client that must authenticate.
    pub fn anonymous(&self) -> Client {
        Client::new(Local::new(self.api.server.clone(), None), "default")
    }

    /// Where the state is.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What has been written so far.
    pub fn history(&self) -> History {
        self.recorder.history()
    }

    /// Starts a node, or starts it again.
    pub fn start_node(&mut self, name: &str) {
        let runtime = self.nodes.remove(name).map_or_else(|| FakeRuntime::new(name), |node| node.runtime);
        let running = self.shutdown.child_token();
        let client = self.client(&format!("system:node:{name}"), &[NODES]);
        let host = Arc::new(HollowHost::new(name, self.options.cpus, self.options.memory));
        let kubelet =
            kubelet::run(kubelet::Config::hollow(name), Some(client), Arc::new(runtime.clone()), host, running.clone());
        self.spawn("kubelet", kubelet);
        self.nodes.insert(name.to_owned(), HollowNode { runtime, running });
    }

    /// Silences a node: its kubelet is gone, its containers go on.
    pub fn stop_node(&self, name: &str) {
        if let Some(node) = self.nodes.get(name) {
            node.running.cancel();
        }
    }

    /// The runtime of a node.
    pub fn runtime(&self, node: &str) -> Option<&FakeRuntime> {
        self.nodes.get(node).map(|node| &node.runtime)
    }

    /// Stops everything; the history of it all.
    pub async fn stop(self) -> History {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.api.tasks.close();
        self.api.tasks.wait().await;
        self.recorder.history()
    }

    /// Components would try again, but not at the same times in the life of every cluster.
    async fn wait_ready(&self) {
        let admin = self.admin();
        let ready = || async {
            let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
            admin.request_text(request).await.map_err(|error| error.to_string())
        };
        eventually(START, "the API server to be ready", ready).await;
    }

    fn start_controller_manager(&self) -> Result<()> {
        let mut args: Vec<String> = [
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=true",
            "--cluster-cidr=10.244.0.0/16",
            "--service-cluster-ip-range=10.96.0.0/16",
        ]
        .map(str::to_owned)
        .to_vec();
        args.push(format!("--root-ca-file={}", self.files.path().join("ca.crt").display()));
        args.extend(self.options.controller_manager_flags.iter().cloned());
        let flags = Flags::parse("kube-controller-manager", kube_controller_manager::options::TABLE, args)?;
        let config = kube_controller_manager::options::config(&flags)?;
        let own = self.client("system:kube-controller-manager", &[]);
        let clients = Clients::new(own, Some(self.anonymous()));
        self.spawn("kube-controller-manager", kube_controller_manager::run(config, clients, self.shutdown.clone()));
        Ok(())
    }

    /// Starts a scheduler that runs until `shutdown`.
    pub fn start_scheduler(
        &self,
        client: Client,
        process: kube_scheduler::Process,
        shutdown: CancellationToken,
    ) -> JoinHandle<()> {
        let config = kube_scheduler::Config::default();
        self.spawn("kube-scheduler", kube_scheduler::run(config, client, process, shutdown))
    }

    fn spawn(&self, component: &'static str, run: impl Future<Output = Result<()>> + Send + 'static) -> JoinHandle<()> {
        self.tasks.spawn(async move {
            if let Err(error) = run.await {
                tracing::error!(component, error = format!("{error:#}"), "component ended");
            }
        })
    }
}

fn key_files() -> Result<TempDir> {
    let dir = tempfile::tempdir().context("a directory for keys")?;
    let key = rcgen::KeyPair::generate().context("a signing key")?;
    std::fs::write(dir.path().join("sa.key"), key.serialize_pem()).context("write the signing key")?;
    std::fs::write(dir.path().join("ca.crt"), ROOT_CA).context("write the CA")?;
    Ok(dir)
}

fn apiserver_flags(files: &TempDir, options: &Options) -> Result<Flags> {
    let key = files.path().join("sa.key");
    let key = key.display();
    let mut args = vec![
        "--bind-address=127.0.0.1".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
    ];
    args.extend(options.apiserver_flags.iter().cloned());
    Ok(Flags::parse("kube-apiserver", kube_apiserver::options::FLAGS, args)?)
}
