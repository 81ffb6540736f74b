//! The loop: changes in, one atomic update of the packet filter out, at most so often.
//!
//! A pass renders only the services that changed. A pass that failed, a flush of the tables by somebody else, and an hour
//! gone by make the next pass complete: it writes everything, and removes chains that nothing needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api_types::k8s_openapi::api::{
    core::v1::{Node as ApiNode, Service},
    discovery::v1::EndpointSlice,
};
use component_base::clock;
use controller_runtime::Event;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    compile::{ServiceRules, compile_service, local_ready},
    config::Config,
    conntrack,
    health::Health,
    iptables::{Settings, State, Table, render},
    metrics::Metrics,
    model::{Family, Node, ServiceName, World},
    sink::{PacketFilter, SinkError},
};

/// How long partial updates are trusted.
const COMPLETE_EVERY: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(1);

/// What the loop takes in.
pub(crate) enum Change {
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
    Node(Event<ApiNode>),
}

/// One family's packet filter and what was applied to it.
pub(crate) struct Backend {
    pub(crate) family: Family,
    pub(crate) sink: Arc<dyn PacketFilter>,
    state: State,
    /// The rules of UDP services, to tell which endpoints they lost.
    udp: BTreeMap<ServiceName, Vec<ServiceRules>>,
}

impl Backend {
    pub(crate) fn new(family: Family, sink: Arc<dyn PacketFilter>) -> Self {
        Backend { family, sink, state: State::default(), udp: BTreeMap::new() }
    }
}

/// The state of the loop.
pub(crate) struct Proxier {
    config: Config,
    node: Node,
    world: World,
    dirty: BTreeSet<ServiceName>,
    backends: Vec<Backend>,
    health: Health,
    metrics: Metrics,
    /// Whether the next pass writes everything.
    complete: bool,
    last_complete: Instant,
    failures: u32,
}

impl Proxier {
    pub(crate) fn new(config: Config, backends: Vec<Backend>, health: Health) -> Self {
        let node = Node { name: config.node_name.clone(), ..Node::default() };
        Proxier {
            config,
            node,
            world: World::default(),
            dirty: BTreeSet::new(),
            backends,
            health,
            metrics: Metrics::shared(),
            complete: true,
            last_complete: Instant::now(),
            failures: 0,
        }
    }

    /// Runs until `shutdown`; `synced` is done once everything that was there at the start is among the changes.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<Change>,
        synced: impl Future<Output = bool>,
        shutdown: CancellationToken,
    ) {
        if !synced.await {
            return;
        }
        let mut next = Instant::now();
        let mut last = None;
        let mut check = tokio::time::interval(self.config.sync_period);
        loop {
            while let Ok(change) = changes.try_recv() {
                self.take_in(change);
            }
            if (self.complete || !self.dirty.is_empty()) && Instant::now() >= next {
                let wait = self.pass().await;
                let done = Instant::now();
                let before = last.replace(done);
                // Two passes may follow each other at once: a new service and its endpoints are two changes.
                next = match before {
                    _ if self.failures > 0 => done + wait,
                    Some(before) => before + wait,
                    None => done,
                };
                continue;
            }
            let due = self.complete || !self.dirty.is_empty();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                change = changes.recv() => match change {
                    Some(change) => self.take_in(change),
                    None => return,
                },
                () = tokio::time::sleep_until(next), if due => {}
                _ = check.tick() => self.look_after().await,
            }
        }
    }

    pub(crate) fn take_in(&mut self, change: Change) {
        self.health.changed(clock::now());
        match change {
            Change::Service(Event::Deleted(service)) => {
                self.dirty.insert(self.world.remove_service(&service));
            }
            Change::Service(event) => {
                self.dirty.insert(self.world.set_service(event.object().clone()));
            }
            Change::Slice(Event::Deleted(slice)) => self.dirty.extend(self.world.remove_slice(&slice)),
            Change::Slice(event) => {
                // A slice that is given to another service leaves the first.
                self.dirty.extend(event.old().and_then(|old| self.world.remove_slice(old)));
                self.dirty.extend(self.world.set_slice(event.object().clone()));
            }
            Change::Node(event) => {
                let node = if event.is_deleted() { None } else { Some(&**event.object()) };
                let eligible = node.is_none_or(|n| !is_leaving(n)) && !event.is_deleted();
                self.health.set_eligible(eligible);
                let node = self.config.node(node);
                if node != self.node {
                    self.node = node;
                    self.complete = true;
                }
            }
        }
    }

    /// Applies what changed, and says how long to wait before the next pass.
    pub(crate) async fn pass(&mut self) -> Duration {
        let started = Instant::now();
        let complete = self.complete;
        let dirty = std::mem::take(&mut self.dirty);
        let settings = self.config.settings(&self.node);
        let mut backends = std::mem::take(&mut self.backends);
        let mut result = Ok(());
        for backend in &mut backends {
            let family_settings = settings.of(backend.family);
            if let Err(error) = self.apply(backend, &dirty, &family_settings, complete).await {
                result = Err(error);
            }
        }
        self.backends = backends;
        self.metrics.pass(complete, result.is_ok(), started.elapsed());
        match result {
            Ok(()) => {
                self.complete = false;
                self.failures = 0;
                if complete {
                    self.last_complete = Instant::now();
                }
                self.answer_health_checks(&dirty, complete);
                self.health.applied(clock::now());
                self.config.min_sync_period
            }
            Err(error) => {
                self.failures += 1;
                let wait =
                    (RETRY * 2u32.saturating_pow(self.failures.min(8) - 1)).min(self.config.sync_period.max(RETRY));
                tracing::error!(error = %chain(&error), retry_in = ?wait, "could not apply the rules");
                self.complete = true;
                self.dirty = dirty;
                wait
            }
        }
    }

    async fn apply(
        &self,
        backend: &mut Backend,
        dirty: &BTreeSet<ServiceName>,
        settings: &Settings,
        complete: bool,
    ) -> Result<(), SinkError> {
        let mut stale = BTreeSet::new();
        let mut names = dirty.clone();
        if complete {
            backend.sink.prepare().await?;
            stale = backend.sink.chains(Table::Nat).await?.into_iter().filter(|chain| is_per_service(chain)).collect();
            names = self.world.names().into_iter().collect();
            names.extend(backend.state.services().cloned());
        }
        let mut fragments = Vec::with_capacity(names.len());
        let mut udp = Vec::new();
        for name in names {
            let rules = compile_service(&self.world, &name, backend.family, &self.node);
            fragments.push((name.clone(), render(&rules, settings)));
            if rules.iter().any(|r| r.port.protocol == "udp") || backend.udp.contains_key(&name) {
                udp.push((name, rules));
            }
        }
        let change = backend.state.change(fragments, settings, complete, &stale);
        if !change.input.is_empty() {
            tracing::debug!(family = ?backend.family, complete, chains = change.chains, "applying rules");
            backend.sink.restore(change.input.clone()).await?;
        }
        backend.state.applied(change);
        for (name, rules) in udp {
            self.drop_stale_connections(backend, name, rules).await;
        }
        Ok(())
    }

    async fn drop_stale_connections(&self, backend: &mut Backend, name: ServiceName, rules: Vec<ServiceRules>) {
        let before = backend.udp.get(&name).map(Vec::as_slice).unwrap_or_default();
        for stale in conntrack::stale(before, &rules) {
            if let Err(error) = stale.delete().await {
                tracing::warn!(service = %name, %error, "stale UDP connections may linger");
            }
        }
        if rules.is_empty() {
            backend.udp.remove(&name)
        } else {
            backend.udp.insert(name, rules)
        };
    }

    fn answer_health_checks(&mut self, dirty: &BTreeSet<ServiceName>, complete: bool) {
        let Some(family) = self.backends.first().map(|b| b.family) else { return };
        let names: Vec<_> = if complete { self.world.names() } else { dirty.iter().cloned().collect() };
        for name in names {
            let port = self.world.service(&name).and_then(|service| {
                let ports = crate::model::service_ports(service, family);
                ports.iter().find_map(|p| p.health_check_port)
            });
            let local = if port.is_some() { local_ready(&self.world, &name, family, &self.node) } else { 0 };
            self.health.set_service(name, port, local);
        }
    }

    /// Notices that somebody flushed the tables, and that partial updates went on for long.
    async fn look_after(&mut self) {
        if self.last_complete.elapsed() >= COMPLETE_EVERY {
            self.complete = true;
        }
        for backend in &self.backends {
            match backend.sink.was_flushed().await {
                Ok(false) => {}
                Ok(true) if self.complete => {}
                Ok(true) => {
                    tracing::warn!(family = ?backend.family, "the tables were flushed by somebody else");
                    self.complete = true;
                }
                Err(error) => tracing::warn!(error = %chain(&error), "could not look at the tables"),
            }
        }
    }
}

fn chain(error: &SinkError) -> String {
    let source = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
    format!("{error}{source}")
}

fn is_per_service(chain: &str) -> bool {
    ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-"].iter().any(|prefix| chain.starts_with(prefix))
}

/// Whether the node is about to be removed, so that load balancers should look elsewhere.
fn is_leaving(node: &ApiNode) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    node.metadata.deletion_timestamp.is_some() || taints.iter().any(|t| t.key == "ToBeDeletedByClusterAutoscaler")
}

#[cfg(test)]
#[path = "proxier_tests.rs"]
mod tests;
