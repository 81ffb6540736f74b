//! Putting the server together, and running it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use apiserver::{
    admission::AdmissionChain,
    aggregation::Aggregation,
    audit::{
        Auditor,
        log::{Log, Mode},
    },
    authz::Authorizer,
    cache::{FormPool, Hub},
    catalog::Catalog,
    chain::{Gate, Impersonator, Limits, Server},
    documents::OpenApi,
    fairness::Fairness,
    health::Health,
    local::Local,
    metrics::Metrics,
    registry::Registry,
    server::Core,
    user::{MASTERS, UserInfo},
};
use async_trait::async_trait;
use component_base::{health::Endpoint as HealthEndpoint, tls::ClientCertificates};
use http::request::Parts;
use storage::Store;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission, aggregator,
    auth::{self, Auth},
    behaviours, bootstrap,
    cell::CoreCell,
    config::{Backend, Config},
    connect, custom, documents, encryption, endpoints, flowcontrol, kinds,
};

/// How long the caches may take to fill at start.
const FILL: Duration = Duration::from_secs(60);
/// How long open requests may take after the last new one was accepted.
const DRAIN: Duration = Duration::from_secs(10);

/// A server without a socket: what tests and in-process clusters use.
pub struct ApiServer {
    pub server: Arc<Server>,
    /// Background tasks; they end with the shutdown token.
    pub tasks: TaskTracker,
}

impl ApiServer {
    /// A client in memory that acts as the server itself.
    pub fn loopback(&self) -> kube::Client {
        let user = UserInfo::new("system:apiserver", &[MASTERS]);
        let local = Local::new(Arc::clone(&self.server), Some(user)).named("kube-apiserver");
        kube::Client::new(local, "default")
    }

    /// A client in memory that acts as `user`.
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        kube::Client::new(Local::new(Arc::clone(&self.server), Some(user)), "default")
    }
}

/// Builds the server over `store`, fills its caches and starts its background tasks.
pub async fn build(config: &Config, store: Arc<dyn Store>, shutdown: CancellationToken) -> Result<ApiServer> {
    let tasks = TaskTracker::new();
    let auth = Arc::new(Auth::new(config.auth.clone()).await?);
    let (store, keyring) = match &config.encryption {
        Some(options) => {
            let (store, keyring) = encryption::guard(store, options, &tasks, &shutdown).await?;
            (store, Some(keyring))
        }
        None => (store, None),
    };
    let hub = Hub::new(Arc::clone(&store), "/registry/", FormPool::new(config.encoded_cache));
    let catalog = Catalog::default();
    let cell = CoreCell::default();
    let kubelet = Arc::new(connect::Kubelet::new(&config.kubelet)?);
    let mut endpoints = endpoints::table(&auth, &cell);
    endpoints.extend(connect::rows(&kubelet));
    let parts =
        kinds::Parts { endpoints, behaviours: behaviours::table(config, &cell), missing: Arc::new(endpoints::Missing) };
    kinds::install(&catalog, &hub, &parts, &config.apis)?;
    tasks.spawn(Arc::clone(&hub).run(shutdown.clone()));
    hub.wait_filled(FILL).await.context("filling the caches from the store")?;
    let health = health(&hub, &auth);
    if let Some(keyring) = keyring {
        keyring.report(&health.checks);
    }
    let admission = AdmissionChain::new(admission::plugins(config, &cell)?);
    let core = Arc::new(Core {
        catalog,
        aggregation: Aggregation::default(),
        registry: Registry { store, hub, admission: admission.clone() },
        admission,
        authorizer: Arc::clone(&auth.authorizer),
        gate: gate(config),
        health,
        metrics: Metrics::default(),
        openapi: OpenApi::default(),
    });
    cell.set(Arc::clone(&core));
    let server = Arc::new(Server {
        core: Arc::clone(&core),
        authenticator: Arc::clone(&auth.authenticator),
        impersonator: Arc::new(Impersonation),
        anonymous: config.auth.anonymous.clone(),
        request_timeout: config.request_timeout,
        advertised: config.advertised(),
        documents: documents::all(Arc::clone(&auth)),
        cors: config.cors.clone(),
        audit: auditor(config, &tasks, &shutdown)?,
    });
    bootstrap::objects(&core, config).await.context("creating the objects that every cluster has")?;
    bootstrap::kubernetes_service(&core, config).await.context("publishing this server as a service")?;
    bootstrap::authentication_config(&core, config).await.context("publishing the client CA")?;
    let definitions = custom::Definer::new(cell.clone(), config.services_by_endpoints)?;
    let definitions = definitions.start().await.context("serving custom resources")?;
    tasks.spawn(definitions.run(shutdown.clone()));
    let aggregator = aggregator::Aggregator::new(cell, config, &tasks).context("serving aggregated APIs")?;
    tasks.spawn(aggregator.start().run(shutdown.clone()));
    tasks.spawn(bootstrap::keep_kubernetes_service(core, config.clone(), shutdown.clone()));
    let api = ApiServer { server, tasks };
    auth.start(api.loopback(), &shutdown, &api.tasks);
    auth.follow_files(&shutdown, &api.tasks);
    if let Gate::Fair(fairness) = &api.server.core.gate {
        flowcontrol::start(fairness, &api.loopback(), &shutdown, &api.tasks);
    }
    Ok(api)
}

/// What tells of requests, if anything does.
fn auditor(config: &Config, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<Option<Arc<Auditor>>> {
    let Some((policy, options)) = &config.audit else { return Ok(None) };
    let log = Log::open(options.clone()).with_context(|| format!("opening {}", options.path.display()))?;
    let log = Arc::new(log);
    if matches!(options.mode, Mode::Batch(_)) {
        tasks.spawn(Arc::clone(&log).run(shutdown.clone()));
    }
    Ok(Some(Arc::new(Auditor { policy: policy.clone(), sink: log })))
}

/// Priority and fairness share out the sum of both limits.
fn gate(config: &Config) -> Gate {
    let seats = u32::try_from(config.max_reading + config.max_mutating).unwrap_or(u32::MAX);
    if config.fairness && seats > 0 {
        Gate::Fair(Fairness::new(seats))
    } else {
        Gate::InFlight(Limits::new(config.max_reading, config.max_mutating))
    }
}

fn health(hub: &Arc<Hub>, auth: &Arc<Auth>) -> Health {
    let health = Health::default();
    let ready = Arc::clone(hub);
    health.checks.add("informer-sync", &[HealthEndpoint::Readyz], move || {
        if ready.is_ready() { Ok(()) } else { Err("caches are not filled yet".to_owned()) }
    });
    let policy = Arc::clone(auth);
    health.checks.add("poststarthook/rbac/bootstrap-roles", &[HealthEndpoint::Readyz], move || {
        if policy.is_ready() { Ok(()) } else { Err("not finished".to_owned()) }
    });
    health
}

struct Impersonation;

#[async_trait]
impl Impersonator for Impersonation {
    async fn impersonate(
        &self,
        authorizer: &dyn Authorizer,
        user: &UserInfo,
        request: &mut Parts,
    ) -> apiserver::error::Result<Option<UserInfo>> {
        auth::impersonate(authorizer, user, request).await
    }
}

/// Opens the store that the configuration names.
async fn open(backend: &Backend) -> Result<Arc<dyn Store>> {
    match backend {
        Backend::Embedded(dir) => {
            let store = storage::embedded::Embedded::open(dir).await;
            Ok(Arc::new(store.with_context(|| format!("opening the store in {}", dir.display()))?))
        }
        Backend::Etcd { servers, ca, certificate, key, compaction } => {
            let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
            let config = storage::etcd::EtcdConfig {
                servers: servers.clone(),
                ca_pem: ca.as_ref().map(read).transpose()?,
                identity_pem: certificate.as_ref().map(read).transpose()?.zip(key.as_ref().map(read).transpose()?),
                compaction_interval: *compaction,
            };
            Ok(Arc::new(storage::etcd::Etcd::connect(config).await.context("connecting to etcd")?))
        }
    }
}

/// Runs the server until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let store = open(&config.backend).await?;
    // Background work outlives the last request.
    let background = CancellationToken::new();
    let api = build(&config, store, background.clone()).await?;
    let tls = tls(&config)?;
    let address = SocketAddr::new(config.bind_address, config.secure_port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    tracing::info!(%address, "serving");
    let closing = CancellationToken::new();
    let handler = Arc::new(Local::new(Arc::clone(&api.server), None));
    let serving = component_base::serving::serve(listener, Some(Arc::new(tls)), handler, closing.clone());
    let health = api.server.core.health.clone();
    let leaving = async {
        shutdown.cancelled().await;
        health.leave();
        tokio::time::sleep(config.shutdown_delay).await;
        health.stop();
        closing.cancel();
    };
    tokio::join!(leaving, serving);
    background.cancel();
    api.tasks.close();
    let _ended = tokio::time::timeout(DRAIN, api.tasks.wait()).await;
    Ok(())
}

fn tls(config: &Config) -> Result<rustls::ServerConfig> {
    let (cert, key) = match &config.serving {
        Some(pair) => pair.clone(),
        None => {
            let hosts = component_base::tls::self_signed_hosts(config.advertise_address);
            component_base::tls::self_signed(&config.cert_dir, "apiserver", &hosts)?
        }
    };
    let clients = match config.auth.asks_for_certificates() {
        true => ClientCertificates::Any,
        false => ClientCertificates::Ignored,
    };
    Ok(component_base::tls::server_config(&cert, &key, clients)?)
}
