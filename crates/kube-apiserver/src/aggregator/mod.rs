//! Aggregated API servers (`apiregistration.k8s.io`): follows the APIServices, finds out whether the servers behind them are there and what
//! they serve, says so in their conditions, and gives the generic server what it routes and shows.
//!
//! A server is looked at when its APIService, its service or that one's endpoints change, and every half a minute.

mod availability;
mod backend;
mod discovery;
mod metrics;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context;
use api_semantics::Part;
use apiserver::{
    aggregation::{Delegated, Priority},
    cache::{CacheEvent, Scope, Subscription},
    error::{Error, Result},
    meta,
    model::Resource,
    registry::{Change, Create, Writer},
    server::Core,
};
use component_base::tls;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    availability::{Condition, Reference},
    backend::{AGGREGATED, Backend, JSON, KNOWN, Options},
    discovery::Freshness,
};
use crate::{cell::CoreCell, config::Config};

const GROUP: &str = "apiregistration.k8s.io";
/// How often every server is looked at.
const RESYNC: Duration = Duration::from_secs(30);
/// The first pause before a server that failed is looked at again; it doubles each time, up to [`RESYNC`].
const RETRY: Duration = Duration::from_millis(5);

/// What a server said of itself.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// The version of its discovery document.
    tag: Option<String>,
    /// Its entry in aggregated discovery.
    discovery: Option<Value>,
    /// What its OpenAPI document is known by.
    openapi: Option<String>,
}

/// An APIService that another server answers.
struct Registered {
    /// What it was made from; another text means that it is made anew.
    source: String,
    group: String,
    version: String,
    priority: Priority,
    reference: Reference,
    backend: Arc<Backend>,
    memory: Memory,
    failures: u32,
    looking: bool,
}

/// The outcome of a look at a server.
struct Seen {
    name: String,
    source: String,
    condition: Condition,
    memory: Memory,
    freshness: Freshness,
    /// Whether it was asked: what it did not answer then, no event will tell of.
    asked: bool,
}

/// See the module.
pub(crate) struct Aggregator {
    core: Arc<Core>,
    options: Options,
    api_services: Arc<Resource>,
    registered: BTreeMap<String, Registered>,
    /// The group versions that this server answers itself, by the names of their APIServices.
    local: BTreeMap<String, (String, String)>,
    /// The APIServices to look at, and when.
    due: BTreeMap<String, Instant>,
    looks: JoinSet<Seen>,
}

/// The events that servers are looked at for.
struct Watches {
    api_services: Subscription,
    services: Subscription,
    slices: Subscription,
}

impl Aggregator {
    /// `tasks` carries upgraded connections.
    pub(crate) fn new(cell: CoreCell, config: &Config, tasks: &TaskTracker) -> anyhow::Result<Aggregator> {
        let certificate = config.proxy_client.as_ref().map(|(cert, key)| tls::client_certificate(cert, key));
        let options = Options {
            to_endpoints: config.services_by_endpoints,
            certificate: certificate.transpose().context("--proxy-client-cert-file")?,
            rejects_redirects: config.rejects_redirects,
            tasks: tasks.clone(),
            cell: cell.clone(),
        };
        let core = Arc::clone(cell.core()?);
        // The group of the APIServices themselves has none, and is always the first.
        core.aggregation.register(GROUP, "v1", Priority { group: i64::MAX, version: 1 }, None);
        Ok(Aggregator {
            core,
            options,
            api_services: cell.resource(GROUP, "apiservices")?,
            registered: BTreeMap::new(),
            local: BTreeMap::new(),
            due: BTreeMap::new(),
            looks: JoinSet::new(),
        })
    }

    /// Routes what is registered already; what was there is taken to be there still until somebody has looked.
    pub(crate) fn start(mut self) -> Aggregator {
        for api_service in self.all() {
            let name = meta::name(&api_service).to_owned();
            self.register(&name, &api_service);
            self.due.insert(name, Instant::now());
        }
        self
    }

    /// Follows the APIServices until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.follow() => outcome,
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "APIServices can't be followed");
                tokio::time::sleep(RESYNC).await;
            }
        }
    }

    /// Until a watch ends.
    async fn follow(&mut self) -> Result<()> {
        let mut watches = Watches {
            api_services: self.watch(GROUP, "apiservices")?,
            services: self.watch("", "services")?,
            slices: self.watch("discovery.k8s.io", "endpointslices")?,
        };
        self.all_due();
        let mut resync = tokio::time::interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.next();
            tokio::select! {
                event = watches.api_services.events.recv() => match event {
                    Some(event) => _ = self.due.insert(event.entry.name().to_owned(), Instant::now()),
                    None => return Ok(()),
                },
                event = watches.services.events.recv() => match event {
                    Some(event) => self.service_changed(event.entry.namespace(), event.entry.name()),
                    None => return Ok(()),
                },
                event = watches.slices.events.recv() => match event {
                    Some(event) => self.slice_changed(&event),
                    None => return Ok(()),
                },
                _ = resync.tick() => self.all_due(),
                Some(seen) = self.looks.join_next() => match seen {
                    Ok(seen) => self.apply(seen).await,
                    Err(error) => tracing::error!(%error, "looking at an aggregated API server failed"),
                },
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            self.work().await;
        }
    }

    /// When something is due. What is being looked at is due again when that is over.
    fn next(&self) -> Option<Instant> {
        self.due.iter().filter(|(name, _)| !self.is_looking(name)).map(|(_, at)| *at).min()
    }

    fn is_looking(&self, name: &str) -> bool {
        self.registered.get(name).is_some_and(|registered| registered.looking)
    }

    /// Events from now on.
    fn watch(&self, group: &str, plural: &str) -> Result<Subscription> {
        let resource = self.options.cell.resource(group, plural)?;
        let cache = &resource.stored()?.cache;
        cache.watch(&Scope::default(), Some(cache.revision())).map_err(|_| Error::internal("watch too old"))
    }

    fn all(&self) -> Vec<Value> {
        let all = self.options.cell.list(GROUP, "apiservices", "");
        let all = all.inspect_err(|error| tracing::error!(%error, "APIServices can't be read"));
        all.unwrap_or_default().iter().map(|object| Value::clone(object)).collect()
    }

    fn all_due(&mut self) {
        let stored = self.all().iter().map(|object| meta::name(object).to_owned()).collect::<Vec<_>>();
        let known = self.registered.keys().chain(self.local.keys()).cloned();
        let now = Instant::now();
        let names: Vec<String> = known.chain(stored).collect();
        self.due.extend(names.into_iter().map(|name| (name, now)));
    }

    fn service_changed(&mut self, namespace: &str, name: &str) {
        let concerned =
            self.registered.iter().filter(|(_, r)| r.reference.namespace == namespace && r.reference.name == name);
        let names: Vec<String> = concerned.map(|(name, _)| name.clone()).collect();
        self.due.extend(names.into_iter().map(|name| (name, Instant::now())));
    }

    fn slice_changed(&mut self, event: &CacheEvent) {
        let entry = &event.entry;
        if let Some(service) = entry.selectable.label("kubernetes.io/service-name") {
            self.service_changed(entry.namespace(), service);
        }
    }

    /// Starts to look at everything that is due.
    async fn work(&mut self) {
        let now = Instant::now();
        let is_ready = |(name, at): &(&String, &Instant)| **at <= now && !self.is_looking(name);
        let ready: Vec<String> = self.due.iter().filter(is_ready).map(|(name, _)| name.clone()).collect();
        for name in ready {
            self.due.remove(&name);
            if let Err(error) = self.reconcile(&name).await {
                tracing::warn!(api_service = name, %error, "APIService can't be looked at yet");
                self.due.insert(name, Instant::now() + RESYNC);
            }
        }
    }

    async fn reconcile(&mut self, name: &str) -> Result<()> {
        let stored = self.api_services.stored()?;
        let Some(entry) = stored.cache.get(name).0 else {
            self.unregister(name);
            return Ok(());
        };
        let api_service = entry.value(stored.version)?;
        self.register(name, &api_service);
        match self.registered.get_mut(name) {
            None => self.say(name, &Condition::local(), None).await,
            Some(registered) => {
                registered.looking = true;
                let backend = Arc::clone(&registered.backend);
                let seen = Seen {
                    name: name.to_owned(),
                    source: registered.source.clone(),
                    condition: Condition::passed(),
                    memory: registered.memory.clone(),
                    freshness: Freshness::Stale,
                    asked: false,
                };
                let group_version = (registered.group.clone(), registered.version.clone());
                let missing = missing(&self.options.cell, &registered.reference)?;
                self.looks.spawn(look(seen, backend, group_version, missing));
                Ok(())
            }
        }
    }

    /// Takes in what an APIService says.
    fn register(&mut self, name: &str, api_service: &Value) {
        let spec = &api_service["spec"];
        let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| spec[field].as_i64().unwrap_or_default();
        let (group, version) = (text("group"), text("version"));
        let priority = Priority { group: number("groupPriorityMinimum"), version: number("versionPriority") };
        let Some(reference) = Reference::of(api_service) else {
            self.registered.remove(name);
            self.core.aggregation.register(&group, &version, priority, None);
            self.local.insert(name.to_owned(), (group, version));
            return;
        };
        self.local.remove(name);
        let source = spec.to_string();
        if self.registered.get(name).is_some_and(|r| r.source == source) {
            return;
        }
        let backend = Arc::new(Backend::new(api_service, &reference, self.options.clone()));
        let mut conditions = api_service["status"]["conditions"].as_array().into_iter().flatten();
        backend.set_available(conditions.any(|c| c["type"] == "Available" && c["status"] == "True"));
        let (memory, failures, looking) = (Memory::default(), 0, false);
        let made = Registered { source, group, version, priority, reference, backend, memory, failures, looking };
        self.show(&made, Freshness::Stale);
        self.registered.insert(name.to_owned(), made);
    }

    fn unregister(&mut self, name: &str) {
        let remote = self.registered.remove(name).map(|r| (r.group, r.version));
        if let Some((group, version)) = remote.or_else(|| self.local.remove(name)) {
            self.core.aggregation.unregister(&group, &version);
        }
        metrics::forget(name);
    }

    /// Has it routed and shown.
    fn show(&self, of: &Registered, freshness: Freshness) {
        let discovery = match &of.memory.discovery {
            Some(entry) => discovery::fresh(entry, freshness),
            None => discovery::unknown(&of.version),
        };
        let delegated = Delegated {
            delegate: of.backend.clone(),
            discovery: Arc::new(discovery),
            openapi: of.memory.openapi.clone(),
        };
        self.core.aggregation.register(&of.group, &of.version, of.priority, Some(delegated));
    }

    /// Takes in what was seen; served first, so that whoever sees the condition can use it.
    async fn apply(&mut self, seen: Seen) {
        let Some(mut registered) = self.registered.remove(&seen.name) else { return };
        registered.looking = false;
        if registered.source == seen.source {
            registered.backend.set_available(seen.condition.available);
            registered.memory = seen.memory;
            self.show(&registered, seen.freshness);
            let failed = seen.asked && seen.freshness == Freshness::Stale;
            if failed {
                let pause = RETRY.saturating_mul(1 << registered.failures.min(20)).min(RESYNC);
                let at = self.due.get(&seen.name).copied().unwrap_or_else(|| Instant::now() + pause);
                self.due.insert(seen.name.clone(), at);
            }
            registered.failures = if failed { registered.failures + 1 } else { 0 };
            let told = self.say(&seen.name, &seen.condition, Some(&registered)).await;
            if let Err(error) = told {
                tracing::warn!(api_service = seen.name, %error, "APIService's condition can't be written");
            }
        }
        self.registered.insert(seen.name, registered);
    }

    /// Writes the condition, if it is another one.
    async fn say(&self, name: &str, condition: &Condition, of: Option<&Registered>) -> Result<()> {
        metrics::record(name, condition);
        let now = api_types::time::format(&component_base::clock::now());
        let make = |old: Option<&Value>| {
            let mut object = old.cloned().ok_or_else(|| self.api_services.not_found(name))?;
            // Of what was changed meanwhile the next look tells.
            if of.map(|of| of.source.as_str()) == Reference::of(&object).map(|_| object["spec"].to_string()).as_deref()
            {
                condition.set_on(&mut object, &now);
            }
            Ok(object)
        };
        let change = Change {
            part: Part::Status,
            subresource: "status",
            make: Box::new(make),
            keeps_owners: true,
            create: Create::Never,
        };
        match self.core.registry.update(&self.api_services, "", name, &change, &Writer::system()).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Why the service of a server can't be reached.
fn missing(cell: &CoreCell, of: &Reference) -> Result<Option<Condition>> {
    let service = cell.cached("", "services", &of.namespace, &of.name)?;
    let slices = cell.list("discovery.k8s.io", "endpointslices", &of.namespace)?;
    let slices: Vec<&Value> =
        slices.iter().map(AsRef::as_ref).filter(|slice| availability::is_slice_of(slice, &of.name)).collect();
    Ok(availability::missing(of, service.as_deref(), &slices))
}

/// Looks at a server: whether it is there, and what it serves.
async fn look(
    mut seen: Seen,
    backend: Arc<Backend>,
    (group, version): (String, String),
    missing: Option<Condition>,
) -> Seen {
    if let Some(condition) = missing {
        seen.condition = condition;
        return seen;
    }
    seen.asked = true;
    if let Err(why) = backend.check().await {
        seen.condition = Condition::failed_discovery(why);
        return seen;
    }
    match discover(&backend, &group, &version, &mut seen.memory).await {
        Ok(()) => seen.freshness = Freshness::Current,
        Err(error) => tracing::warn!(group, version, error, "discovery of an aggregated API server failed"),
    }
    seen
}

/// Brings what is known of a server up to date.
async fn discover(
    backend: &Backend,
    group: &str,
    version: &str,
    memory: &mut Memory,
) -> std::result::Result<(), String> {
    let known = memory.tag.clone();
    let mut headers = vec![AGGREGATED];
    headers.extend(known.as_deref().map(|tag| (KNOWN, tag)));
    let answer = backend.get("/apis", &headers).await?;
    let aggregated = answer.code.is_success().then(|| discovery::of_document(&answer.json(), group, version)).flatten();
    match aggregated {
        Some(entry) => (memory.discovery, memory.tag) = (Some(entry), answer.tag),
        None if answer.code == http::StatusCode::NOT_MODIFIED && memory.discovery.is_some() => {}
        // An older server, which has only a document for each group version.
        None => {
            let path = backend.root();
            let answer = backend.get(&path, &[JSON]).await?;
            let entry = answer.code.is_success().then(|| discovery::of_list(&answer.json(), version)).flatten();
            let entry = entry.ok_or_else(|| format!("failed to download discovery for {path}: {}", answer.code))?;
            (memory.discovery, memory.tag) = (Some(entry), None);
        }
    }
    // A server without OpenAPI documents is served all the same.
    let index = backend.get("/openapi/v3", &[JSON]).await?;
    memory.openapi = index.code.is_success().then(|| discovery::document_tag(&index.json(), group, version)).flatten();
    Ok(())
}
