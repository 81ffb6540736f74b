//! Metadata watches on everything that can be deleted, followed over changes of discovery.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use controller_runtime::{Event, Informers, SharedInformer, run_workers};
use kube::api::{DynamicObject, PartialObjectMeta};

use super::{Collector, apply::Worker};
use crate::{
    context::Context,
    discovery::{Discovered, Discovery, Served},
};

type Metadata = PartialObjectMeta<DynamicObject>;

/// How often discovery is asked for new resources.
const RESYNC: Duration = Duration::from_secs(30);
/// How long the first lists may take; then collection begins, each decision being checked against the API server anyway.
const FIRST_SYNC: Duration = Duration::from_secs(30);
/// Not collected: they expire, and are many.
const IGNORED: &[&str] = &["events", "events.events.k8s.io"];

pub(super) fn start(context: &Context, collector: Arc<Collector>, worker: Arc<Worker>) {
    let informers = context.shared.informers.clone();
    informers.trim::<Metadata>(trim);
    let monitors =
        Monitors { informers, discovery: context.shared.discovery.clone(), collector, running: BTreeMap::new() };
    let shared = context.shared.clone();
    let workers = shared.config.workers.get(context.name).copied().unwrap_or(1);
    context.spawn(async move {
        let mut monitors = monitors;
        monitors.resync().await;
        monitors.wait().await;
        let (deletions, orphans) = (monitors.collector.deletions.clone(), monitors.collector.orphans.clone());
        let (deleter, orphaner) = (worker.clone(), worker);
        let (name, tasks, shutdown) = ("garbage-collector", &shared.tasks, &shared.shutdown);
        run_workers(name, &deletions, workers, tasks, shutdown, move |uid| deleter.clone().delete(uid));
        run_workers(name, &orphans, 2, tasks, shutdown, move |uid| orphaner.clone().orphan(uid));
        loop {
            tokio::time::sleep(RESYNC).await;
            monitors.resync().await;
        }
    });
}

/// Only what the graph needs.
fn trim(object: &mut Metadata) {
    let meta = &mut object.metadata;
    (meta.labels, meta.annotations, meta.creation_timestamp, meta.generation) = (None, None, None, None);
    object.types = None;
}

struct Monitors {
    informers: Informers,
    discovery: Discovery,
    collector: Arc<Collector>,
    /// By group resource.
    running: BTreeMap<String, SharedInformer<Metadata>>,
}

/// The resources that are watched.
pub(super) fn collectable(served: &Served) -> impl Iterator<Item = &Discovered> {
    let can = |r: &&Discovered| ["delete", "list", "watch"].into_iter().all(|verb| r.can(verb));
    served.resources.iter().filter(can).filter(|r| !IGNORED.contains(&r.group_resource().as_str()))
}

impl Monitors {
    /// Starts watches on new resources and stops those on resources that are not served any more.
    async fn resync(&mut self) {
        let served = loop {
            match self.discovery.served().await {
                Ok(served) => break served,
                Err(error) => tracing::warn!(%error, "discovery failed"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let wanted: BTreeMap<_, _> = collectable(&served).map(|r| (r.group_resource(), r)).collect();
        if served.stale.is_empty() {
            self.running.retain(|name, informer| {
                let keep = wanted.contains_key(name);
                if !keep {
                    informer.stop();
                }
                keep
            });
        }
        for (name, resource) in wanted {
            if !self.running.contains_key(&name) {
                let informer = self.watch(resource);
                self.running.insert(name, informer);
            }
        }
    }

    fn watch(&self, resource: &Discovered) -> SharedInformer<Metadata> {
        let informer = self.informers.metadata_informer(&resource.api_resource());
        let (collector, api_version, kind) = (self.collector.clone(), resource.api_version(), resource.kind.clone());
        informer.on_event(move |event| {
            let meta = &event.object().metadata;
            let mut graph = collector.graph.lock();
            let work = match event {
                Event::Deleted(_) => graph.remove(meta.uid.as_deref().unwrap_or_default()),
                Event::Added(_) | Event::Updated { .. } => graph.upsert(&api_version, &kind, meta),
            };
            drop(graph);
            collector.add(work);
        });
        informer
    }

    async fn wait(&self) {
        let all = futures::future::join_all(self.running.values().map(SharedInformer::synced));
        if tokio::time::timeout(FIRST_SYNC, all).await.is_err() {
            let late: Vec<_> =
                self.running.iter().filter(|(_, i)| !i.has_synced()).map(|(name, _)| name.as_str()).collect();
            tracing::warn!(?late, "collecting garbage without all lists");
        }
    }
}
