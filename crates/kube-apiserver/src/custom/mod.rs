//! Custom resources: follows the CustomResourceDefinitions, says in their status whether they are accepted, and puts what
//! they define into the routing table and the caches.
//!
//! One task does all of it, one definition at a time; each look is at the definition as it is now. What fails is tried
//! again after a moment.

mod api_services;
mod model;
mod review;
mod status;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api_semantics::Part;
use apiserver::{
    cache::{Scope, Subscription},
    error::{Error, Result},
    meta,
    model::{Behaviour, Resource},
    options::DeleteOptions,
    registry::{Change, Create, Writer},
    server::Core,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cell::CoreCell;

/// Keeps a deleted definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Pause before what failed, or waits for objects to go, is looked at again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a definition stays as it is before it is looked at. Definitions come in bursts (the manifests of an operator,
/// created and patched by its installer): each is then accepted, and discovery and OpenAPI made anew, once.
const SETTLE: Duration = Duration::from_millis(100);

/// Definitions outlive their deletion until their objects are gone.
pub(crate) struct Definitions;

impl Behaviour for Definitions {
    fn is_held(&self, definition: &Value) -> bool {
        !meta::is_terminating(definition)
    }

    /// Recorded as upstream does it: without a grace period or a new generation, but with a condition.
    fn mark_terminating(&self, definition: &mut Value, before: &Value) {
        meta::set(definition, "deletionGracePeriodSeconds", Value::Null);
        meta::copy(definition, before, "generation");
        let now = api_types::time::format(&component_base::clock::now());
        status::set_terminating(meta::map_mut(definition, "status"), &now);
        let mut finalizers = meta::finalizers(definition);
        if !finalizers.iter().any(|f| f == CLEANUP) {
            finalizers.push(CLEANUP.to_owned());
        }
        meta::set_finalizers(definition, &finalizers);
    }
}

/// What is served for a definition now.
struct Installed {
    /// What it was made from; another text means that it is made anew.
    source: String,
    prefix: String,
    resources: Vec<Arc<Resource>>,
    /// In the version that is stored: what is deleted through it needs no conversion.
    storage: Arc<Resource>,
}

/// See the module.
pub(crate) struct Definer {
    core: Arc<Core>,
    cell: CoreCell,
    to_endpoints: bool,
    definitions: Arc<Resource>,
    installed: BTreeMap<String, Installed>,
    /// The definitions to look at, and when.
    due: BTreeMap<String, Instant>,
    events: Option<Subscription>,
    /// The group versions that have their APIServices.
    announced: Option<BTreeSet<(String, String)>>,
}

impl Definer {
    /// `to_endpoints`: the services of conversion webhooks are reached at their endpoints, not at their address.
    pub(crate) fn new(cell: CoreCell, to_endpoints: bool) -> Result<Definer> {
        let core = Arc::clone(cell.core()?);
        let definitions = core
            .catalog
            .find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            .ok_or_else(Error::no_such_path)?;
        let (installed, due) = (BTreeMap::new(), BTreeMap::new());
        Ok(Definer { core, cell, to_endpoints, definitions, installed, due, events: None, announced: None })
    }

    /// Serves what is defined already.
    pub(crate) async fn start(mut self) -> Result<Definer> {
        self.subscribe()?;
        self.work().await;
        self.announce().await?;
        Ok(self)
    }

    /// Follows the definitions until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let next = self.due.values().min().copied().unwrap_or_else(Instant::now);
            let event = async {
                match &mut self.events {
                    Some(subscription) => subscription.events.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next), if !self.due.is_empty() => {}
                event = event => match event {
                    Some(event) => {
                        self.due.insert(event.entry.name().to_owned(), Instant::now() + SETTLE);
                    }
                    None => {
                        // The watch ended: look at everything again.
                        self.due.extend(self.installed.keys().map(|name| (name.clone(), Instant::now())));
                        if let Err(error) = self.subscribe() {
                            tracing::error!(%error, "definitions can't be watched");
                            tokio::time::sleep(RETRY).await;
                        }
                    }
                },
            }
            self.work().await;
        }
    }

    fn subscribe(&mut self) -> Result<()> {
        let stored = self.definitions.stored()?;
        let subscription = stored.cache.watch(&Scope::default(), None).map_err(|_| Error::internal("watch too old"))?;
        self.due.extend(subscription.initial.iter().map(|entry| (entry.name().to_owned(), Instant::now())));
        self.events = Some(subscription);
        Ok(())
    }

    /// Looks at everything that is due; what failed will be again.
    async fn work(&mut self) {
        let now = Instant::now();
        let ready: Vec<String> = self.due.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in ready {
            self.due.remove(&name);
            match self.reconcile(&name).await {
                Ok(true) => {}
                Ok(false) => {
                    self.due.insert(name, Instant::now() + RETRY);
                }
                Err(error) => {
                    tracing::warn!(definition = name, %error, "definition can't be served yet");
                    self.due.insert(name, Instant::now() + RETRY);
                }
            }
        }
    }

    /// Brings one definition's status and service in line with it; whether that is all for now.
    async fn reconcile(&mut self, name: &str) -> Result<bool> {
        // Definitions are large, so they are not kept decoded.
        let stored = self.definitions.stored()?;
        let Some(entry) = stored.cache.get(name).0 else {
            self.uninstall(name);
            self.announce().await?;
            return Ok(true);
        };
        let definition = entry.value(stored.version)?;
        if meta::is_terminating(&definition) {
            return self.clean_up(name, &definition).await;
        }
        let now = api_types::time::format(&component_base::clock::now());
        let status = status::wanted(&definition, &self.all()?, &now);
        let mut accepted = definition.clone();
        accepted["status"] = status.clone();
        // Served first: who sees that the definition is established can use it.
        if status::is_true(&status, "Established") {
            self.install(name, &accepted).await?;
            self.announce().await?;
        }
        if status != definition["status"] {
            self.update(name, Part::Status, "status", move |object| object["status"] = status.clone()).await?;
        }
        Ok(true)
    }

    fn all(&self) -> Result<Vec<Value>> {
        let stored = self.definitions.stored()?;
        stored.cache.list(&Scope::default()).0.iter().map(|entry| entry.value(stored.version)).collect()
    }

    async fn update(
        &self,
        name: &str,
        part: Part,
        subresource: &str,
        change: impl Fn(&mut Value) + Send + Sync,
    ) -> Result<()> {
        let make = |old: Option<&Value>| {
            let mut object = old.cloned().ok_or_else(|| self.definitions.not_found(name))?;
            change(&mut object);
            Ok(object)
        };
        let change = Change { part, subresource, make: Box::new(make), keeps_owners: true, create: Create::Never };
        self.core.registry.update(&self.definitions, "", name, &change, &Writer::system()).await?;
        Ok(())
    }

    async fn install(&mut self, name: &str, definition: &Value) -> Result<()> {
        let source = json!([definition["spec"], definition["status"]["acceptedNames"]]).to_string();
        if self.installed.get(name).is_some_and(|i| i.source == source) {
            return Ok(());
        }
        let served = model::served(definition, &self.cell, self.to_endpoints)?;
        self.uninstall(name);
        self.core.registry.hub.register(served.cache).await.map_err(Error::internal)?;
        for resource in &served.resources {
            self.core.catalog.insert(Arc::clone(resource));
        }
        tracing::info!(definition = name, versions = served.resources.len(), "custom resource is served");
        let prefix = model::prefix(definition);
        let installed = Installed { source, prefix, resources: served.resources, storage: served.storage };
        self.installed.insert(name.to_owned(), installed);
        Ok(())
    }

    /// Keeps an APIService for each group version that is served; what it could not write is written the next time.
    async fn announce(&mut self) -> Result<()> {
        let resources = self.installed.values().flat_map(|installed| &installed.resources);
        let wanted: BTreeSet<(String, String)> = resources.map(|r| (r.group.clone(), r.version.clone())).collect();
        if self.announced.as_ref() != Some(&wanted) {
            self.announced = None;
            api_services::keep(&self.core, &wanted).await?;
            self.announced = Some(wanted);
        }
        Ok(())
    }

    fn uninstall(&mut self, name: &str) {
        let Some(installed) = self.installed.remove(name) else { return };
        for resource in &installed.resources {
            self.core.catalog.remove(&resource.group, &resource.version, &resource.plural);
        }
        self.core.registry.hub.remove(&installed.prefix);
    }

    /// Deletes the objects of a terminating definition; when none is left, lets the definition go.
    async fn clean_up(&mut self, name: &str, definition: &Value) -> Result<bool> {
        let finalizers = meta::finalizers(definition);
        if !finalizers.iter().any(|f| f == CLEANUP) {
            return Ok(true);
        }
        if !self.installed.contains_key(name) && status::is_true(&definition["status"], "Established") {
            // The server was started in the middle of this.
            self.install(name, definition).await?;
        }
        if let Some(resource) = self.installed.get(name).map(|i| Arc::clone(&i.storage)) {
            let stored = resource.stored()?;
            let left = stored.cache.list(&Scope::default()).0;
            for entry in &left {
                let options = DeleteOptions::default();
                let registry = &self.core.registry;
                match registry.delete(&resource, entry.namespace(), entry.name(), &options, &Writer::system()).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            if !left.is_empty() {
                return Ok(false);
            }
        }
        self.update(name, Part::Main, "", |object| {
            let rest: Vec<String> = meta::finalizers(object).into_iter().filter(|f| f != CLEANUP).collect();
            meta::set_finalizers(object, &rest);
        })
        .await?;
        Ok(true)
    }
}
