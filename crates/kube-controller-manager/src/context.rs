//! What a controller gets when it starts: its client, the shared informers, the recorder, the configuration, and the means to run
//! workers that wait for the informers which the controller asked for.

use std::{future::Future, sync::Arc};

use api_types::k8s_openapi::NamespaceResourceScope;
use controller_runtime::{
    EventRecorder, Informers, Object, Outcome, Selection, SharedInformer, WorkQueue, run_workers,
};
use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Config, discovery::Discovery};

/// What is the same for all controllers of the process.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) informers: Informers,
    pub(crate) recorder: EventRecorder,
    pub(crate) discovery: Discovery,
    pub(crate) config: Arc<Config>,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// The environment of one controller.
pub struct Context {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    pub(crate) shared: Shared,
    /// The controller's own informers, by whether they are in sync.
    waits: Mutex<Vec<BoxFuture<'static, bool>>>,
}

impl Context {
    pub(crate) fn new(name: &'static str, client: Client, shared: Shared) -> Self {
        Self { name, client, shared, waits: Mutex::default() }
    }

    /// The informer of all objects of a kind; the controller's workers wait for it.
    pub(crate) fn informer<K: Object + kube::Resource<DynamicType = ()>>(&self) -> SharedInformer<K> {
        self.wait_for(self.shared.informers.informer())
    }

    /// The informer of some objects of a kind.
    pub(crate) fn informer_of<K: Object + kube::Resource<DynamicType = ()>>(
        &self,
        selection: Selection,
    ) -> SharedInformer<K> {
        self.wait_for(self.shared.informers.informer_of(selection))
    }

    /// The informer of some objects of a kind in one namespace.
    pub(crate) fn informer_in<K>(&self, namespace: &str, selection: Selection) -> SharedInformer<K>
    where
        K: Object + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        self.wait_for(self.shared.informers.informer_in(namespace, selection))
    }

    fn wait_for<K: Object>(&self, informer: SharedInformer<K>) -> SharedInformer<K> {
        let waiting = informer.clone();
        self.waits.lock().push(async move { waiting.synced().await }.boxed());
        informer
    }

    /// The recorder, in the name of a component.
    pub(crate) fn recorder(&self, component: &str) -> EventRecorder {
        self.shared.recorder.with_component(component)
    }

    /// Runs a task until shutdown, after the informers asked for so far are in sync.
    pub(crate) fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (waits, shutdown) = (std::mem::take(&mut *self.waits.lock()), self.shared.shutdown.clone());
        self.shared.tasks.spawn(async move {
            if !futures::future::join_all(waits).await.into_iter().all(|synced| synced) {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Runs the controller's workers on a queue, after the informers asked for so far are in sync.
    pub(crate) fn run<K, F, Fut>(&self, queue: &WorkQueue<K>, reconcile: F)
    where
        K: Ord + Clone + std::fmt::Display + Send + Sync + 'static,
        F: Fn(K) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let workers = self.shared.config.workers.get(self.name).copied().unwrap_or(1);
        let (waits, name, queue) = (std::mem::take(&mut *self.waits.lock()), self.name, queue.clone());
        let Shared { tasks, shutdown, .. } = self.shared.clone();
        self.shared.tasks.spawn(async move {
            if futures::future::join_all(waits).await.into_iter().all(|synced| synced) {
                tracing::debug!(controller = name, workers, "in sync, working");
                run_workers(name, &queue, workers, &tasks, &shutdown, reconcile);
            }
        });
    }
}
