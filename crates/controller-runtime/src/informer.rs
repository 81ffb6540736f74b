//! Shared informers: one LIST+WATCH per kind and selection in a process, one store, many handlers.
//!
//! kube's `watcher` speaks the protocol (pages, bookmarks, resuming, 410); here its events become store changes and
//! [`Event`]s. After a relist, objects that were not listed any more are reported as deleted, with their last known state; an
//! object that was replaced by one of the same name (another uid) is reported as deleted, then added. An unchanged object is not
//! reported, and there is no periodic resync. Handlers run in the informer's task, in the order in which they were added, and
//! must be quick: usually they put a key on a queue. A handler that panics is logged and skipped. An object that can't be decoded is
//! logged and stays in the store as it was before, if it was there; the others are not held up by it.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use api_types::k8s_openapi::NamespaceResourceScope;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::watcher,
};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ObjectKey, Store, WorkQueue, backoff::Backoff};

/// What an object must be to be watched; every k8s-openapi kind is.
pub trait Object: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Object for K {}

/// A change in an informer's store. The store already shows the new state when handlers see it.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// A new object (or one that existed when the handler was added).
    Added(Arc<K>),
    /// A changed object, with the state before.
    Updated {
        /// The state before.
        old: Arc<K>,
        /// The state now.
        new: Arc<K>,
    },
    /// A deleted object in its last known state (not necessarily its final one, when the deletion was noticed by a relist).
    Deleted(Arc<K>),
}

impl<K> Event<K> {
    /// The object in its newest known state.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) | Self::Updated { new: object, .. } => object,
        }
    }

    /// The state before: none for an added object, the last one for a deleted.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(_) => None,
            Self::Updated { old, .. } | Self::Deleted(old) => Some(old),
        }
    }

    /// Whether the object is gone.
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

/// Which objects of a kind an informer holds. The default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selection {
    labels: Option<String>,
    fields: Option<String>,
}

impl Selection {
    /// Only objects that a label selector (in its string form) matches.
    pub fn labels(mut self, selector: &str) -> Self {
        self.labels = Some(selector.to_owned());
        self
    }

    /// Only objects that a field selector (in its string form) matches.
    pub fn fields(mut self, selector: &str) -> Self {
        self.fields = Some(selector.to_owned());
        self
    }

    fn watcher_config(&self) -> watcher::Config {
        watcher::Config {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..watcher::Config::default()
        }
    }
}

/// What an informer reads.
struct Source<K> {
    api: Api<K>,
    guarded: Api<DeserializeGuard<K>>,
}

type Events<K> = BoxStream<'static, watcher::Result<watcher::Event<DeserializeGuard<K>>>>;

impl<K: Object> Source<K> {
    /// The objects, which have to be decodable all.
    fn strict(&self, config: &watcher::Config) -> Events<K> {
        watcher(self.api.clone(), config.clone())
            .map_ok(|event| map(event, |object| DeserializeGuard(Ok(object))))
            .boxed()
    }

    /// The objects, decodable or not. It costs more: each is buffered.
    fn lenient(&self, config: &watcher::Config) -> Events<K> {
        watcher(self.guarded.clone(), config.clone()).boxed()
    }
}

fn map<A, B>(event: watcher::Event<A>, f: impl FnOnce(A) -> B) -> watcher::Event<B> {
    match event {
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(f(object)),
        watcher::Event::InitDone => watcher::Event::InitDone,
        watcher::Event::Apply(object) => watcher::Event::Apply(f(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(f(object)),
    }
}

fn is_undecodable(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchFailed};
    match error {
        InitialListFailed(kube::Error::SerdeError(_)) | WatchFailed(kube::Error::SerdeError(_)) => true,
        // kube takes a line that is no event for a status, all of whose fields may be absent.
        WatchFailed(kube::Error::Api(status)) => status.code == 0 && status.message.is_empty(),
        _ => false,
    }
}

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;
type Transform<K> = fn(&mut K);

struct Inner<K> {
    store: Store<K>,
    transform: Option<Transform<K>>,
    /// Held while a change is applied and reported, so that a handler added meanwhile sees each object once.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    stop: CancellationToken,
}

/// A handle to a running informer. Cheap to clone; the informer runs until the factory's token is cancelled or [`Self::stop`].
pub struct SharedInformer<K>(Arc<Inner<K>>);

impl<K> Clone for SharedInformer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Object> SharedInformer<K> {
    fn new(transform: Option<Transform<K>>, stop: CancellationToken) -> Self {
        let synced = watch::Sender::new(false);
        Self(Arc::new(Inner { store: Store::default(), transform, handlers: Mutex::default(), synced, stop }))
    }

    /// The store; reading it before [`Self::synced`] shows a part.
    pub fn store(&self) -> &Store<K> {
        &self.0.store
    }

    /// Adds an index to the store and returns the informer: `informers.informer::<Pod>().index("node", pod_node)`.
    pub fn index(self, name: &'static str, values: fn(&K) -> Vec<String>) -> Self {
        self.0.store.add_index(name, values);
        self
    }

    /// Adds a handler. It first gets `Added` for each object that the store already has. It must not add handlers itself.
    pub fn on_event(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.0.handlers.lock();
        let handler: Handler<K> = Box::new(handler);
        for object in self.0.store.list() {
            call(&handler, &Event::Added(object));
        }
        handlers.push(handler);
    }

    /// Puts the key of each changed object on a queue.
    pub fn enqueue_to(&self, queue: &WorkQueue<ObjectKey>) {
        let queue = queue.clone();
        self.on_event(move |event| queue.add(ObjectKey::of(event.object().as_ref())));
    }

    /// Whether the initial list is in the store and was reported to the handlers.
    pub fn has_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Waits until [`Self::has_synced`]; false when the informer was stopped before.
    pub async fn synced(&self) -> bool {
        let mut synced = self.0.synced.subscribe();
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => false,
            result = synced.wait_for(|done| *done) => result.is_ok(),
        }
    }

    /// Stops the watch. The store stays readable in its last state.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    fn report(handlers: &[Handler<K>], event: &Event<K>) {
        for handler in handlers {
            call(handler, event);
        }
    }

    fn upsert(&self, mut object: K) -> ObjectKey {
        object.meta_mut().managed_fields = None;
        if let Some(transform) = self.0.transform {
            transform(&mut object);
        }
        let (key, new) = (ObjectKey::of(&object), Arc::new(object));
        let handlers = self.0.handlers.lock();
        match self.0.store.insert(key.clone(), new.clone()) {
            None => Self::report(&handlers, &Event::Added(new)),
            Some(old) if old.meta().uid != new.meta().uid => {
                Self::report(&handlers, &Event::Deleted(old));
                Self::report(&handlers, &Event::Added(new));
            }
            Some(old) if old.meta().resource_version != new.meta().resource_version => {
                Self::report(&handlers, &Event::Updated { old, new });
            }
            Some(_) => {}
        }
        key
    }

    fn delete(&self, key: &ObjectKey, last: Option<K>) {
        let handlers = self.0.handlers.lock();
        let Some(old) = self.0.store.remove(key) else { return };
        Self::report(&handlers, &Event::Deleted(last.map_or(old, Arc::new)));
    }

    fn take(&self, object: DeserializeGuard<K>) -> ObjectKey {
        let key = ObjectKey::of(&object);
        match object.0 {
            Ok(object) => self.upsert(object),
            Err(InvalidObject { error, .. }) => {
                tracing::error!(kind = kind_name::<K>(), %key, error, "an object can't be decoded");
                key
            }
        }
    }

    /// Applies one watcher event. `listed` collects the keys of a list in progress.
    fn apply(&self, event: watcher::Event<DeserializeGuard<K>>, listed: &mut BTreeSet<ObjectKey>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                listed.insert(self.take(object));
            }
            watcher::Event::InitDone => {
                for key in self.0.store.keys().iter().filter(|key| !listed.contains(key)) {
                    self.delete(key, None);
                }
                listed.clear();
                self.0.synced.send_replace(true);
            }
            watcher::Event::Apply(object) => {
                self.take(object);
            }
            watcher::Event::Delete(object) => self.delete(&ObjectKey::of(&object), object.0.ok()),
        }
    }

    async fn run(self, source: Source<K>, config: watcher::Config) {
        let mut events = source.strict(&config);
        let (mut listed, mut backoff) = (BTreeSet::new(), Backoff::reflector());
        let (mut failing, mut fresh, mut strict) = (false, true, true);
        loop {
            let next = tokio::select! {
                biased;
                () = self.0.stop.cancelled() => return,
                next = events.next() => next,
            };
            match next {
                // The begin of an attempt; whether it gets anywhere is not known yet.
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(event)) => {
                    self.apply(event, &mut listed);
                    backoff.reset();
                    failing = false;
                    fresh = true;
                }
                // The server does not have that past any more (it restarted, or we were away for long): list at once, but not
                // twice in a row.
                Some(Err(watcher::Error::WatchError(status))) if status.code == 410 && fresh => {
                    fresh = false;
                    tracing::debug!(kind = kind_name::<K>(), %status, "listing anew");
                }
                Some(Err(error)) if strict && is_undecodable(&error) => {
                    tracing::warn!(kind = kind_name::<K>(), %error, "reading on without objects that can't be decoded");
                    strict = false;
                    events = source.lenient(&config);
                }
                Some(Err(error)) => {
                    // Once per outage: a hundred watches would repeat it each second.
                    if std::mem::replace(&mut failing, true) {
                        tracing::debug!(kind = kind_name::<K>(), %error, "watch still fails");
                    } else {
                        tracing::warn!(kind = kind_name::<K>(), %error, "watch failed");
                    }
                    tokio::select! {
                        biased;
                        () = self.0.stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                    }
                }
                None => return,
            }
        }
    }
}

/// The type's own name, for logs.
fn kind_name<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or_default()
}

fn call<K>(handler: &Handler<K>, event: &Event<K>) {
    if catch_unwind(AssertUnwindSafe(|| handler(event))).is_err() {
        tracing::error!(kind = kind_name::<K>(), "informer handler panicked");
    }
}

struct Factory {
    client: Client,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// By type and path of the resource, and selection.
    informers: BTreeMap<(&'static str, String, Selection), Entry>,
    /// By type name.
    transforms: BTreeMap<&'static str, Box<dyn Any + Send + Sync>>,
}

struct Entry {
    informer: Box<dyn Any + Send + Sync>,
    synced: watch::Receiver<bool>,
    stop: CancellationToken,
}

/// The factory of a process's informers. Cheap to clone.
#[derive(Clone)]
pub struct Informers(Arc<Factory>);

impl Informers {
    /// A factory whose informers watch through `client` until `shutdown`; their tasks are tracked by `tasks`.
    pub fn new(client: Client, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Factory { client, tasks, shutdown, running: Mutex::default() }))
    }

    /// The informer of all objects of a kind. The first call starts its watch.
    pub fn informer<K: Object + kube::Resource<DynamicType = ()>>(&self) -> SharedInformer<K> {
        self.informer_of(Selection::default())
    }

    /// The informer of some objects of a kind.
    pub fn informer_of<K: Object + kube::Resource<DynamicType = ()>>(&self, selection: Selection) -> SharedInformer<K> {
        let client = self.client();
        self.start(Source { api: Api::all(client.clone()), guarded: Api::all(client.clone()) }, selection)
    }

    /// The informer of some objects of a kind in one namespace (what a namespaced role allows).
    pub fn informer_in<K>(&self, namespace: &str, selection: Selection) -> SharedInformer<K>
    where
        K: Object + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let client = self.client();
        let api = Api::namespaced(client.clone(), namespace);
        self.start(Source { api, guarded: Api::namespaced(client.clone(), namespace) }, selection)
    }

    /// An informer of a kind known at run time that holds only the objects' metadata.
    pub fn metadata_informer(&self, resource: &ApiResource) -> SharedInformer<PartialObjectMeta<DynamicObject>> {
        let client = self.client();
        let api = Api::all_with(client.clone(), resource);
        self.start(Source { api, guarded: Api::all_with(client.clone(), resource) }, Selection::default())
    }

    /// Drops what a process does not need of each object of a kind (managed fields are always dropped). Call it before the
    /// kind's first informer.
    pub fn trim<K: Object>(&self, transform: fn(&mut K)) {
        let previous = self.0.running.lock().transforms.insert(std::any::type_name::<K>(), Box::new(transform));
        debug_assert!(previous.is_none(), "two transforms for {}", std::any::type_name::<K>());
    }

    /// Waits for the initial lists of all informers started so far; false when shutdown came first.
    pub async fn wait_for_sync(&self) -> bool {
        let waits: Vec<_> =
            self.0.running.lock().informers.values().map(|e| (e.synced.clone(), e.stop.clone())).collect();
        for (mut synced, stop) in waits {
            tokio::select! {
                biased;
                () = self.0.shutdown.cancelled() => return false,
                () = stop.cancelled() => {}
                _ = synced.wait_for(|done| *done) => {}
            }
        }
        true
    }

    /// The client that informers use.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    fn start<K: Object>(&self, source: Source<K>, selection: Selection) -> SharedInformer<K> {
        let mut running = self.0.running.lock();
        let key = (std::any::type_name::<K>(), source.api.resource_url().to_owned(), selection);
        if let Some(entry) = running.informers.get(&key)
            && !entry.stop.is_cancelled()
            && let Some(informer) = entry.informer.downcast_ref::<SharedInformer<K>>()
        {
            return informer.clone();
        }
        let transform = running.transforms.get(key.0).and_then(|t| t.downcast_ref::<Transform<K>>()).copied();
        let informer = SharedInformer::<K>::new(transform, self.0.shutdown.child_token());
        self.0.tasks.spawn(informer.clone().run(source, key.2.watcher_config()));
        let (synced, stop) = (informer.0.synced.subscribe(), informer.0.stop.clone());
        running.informers.insert(key, Entry { informer: Box::new(informer.clone()), synced, stop });
        informer
    }
}

#[cfg(test)]
mod tests {
    use api_types::k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn map(name: &str, uid: &str, version: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": version, "managedFields": []}})
    }

    /// A server that answers lists and watches with these texts by turns, and the last watches never.
    fn server(lists: Vec<Value>, watches: Vec<Value>) -> Client {
        let [lists, watches] = [lists, watches].map(|answers| Arc::new(Mutex::new(answers.into_iter())));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = if watch { &watches } else { &lists }.lock().next();
            async move {
                let body = match answer {
                    Some(body) => body,
                    None => std::future::pending().await,
                };
                Ok::<_, std::io::Error>(http::Response::new(Body::from(body.to_string().into_bytes())))
            }
        });
        Client::new(service, "ns")
    }

    fn list(version: &str, items: &[Value]) -> Value {
        json!({"metadata": {"resourceVersion": version}, "items": items})
    }

    /// What an informer's handler is told, as a list that grows.
    fn told(informer: &SharedInformer<ConfigMap>) -> Arc<Mutex<Vec<String>>> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        informer.on_event(move |event| {
            let kind = match event {
                Event::Added(_) => "+",
                Event::Updated { .. } => "~",
                Event::Deleted(_) => "-",
            };
            log.lock().push(format!("{kind}{}", event.object().metadata.name.as_deref().unwrap_or_default()));
        });
        told
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_lost_across_a_relist() {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        // The first watch ends with 410; the second list has other objects.
        let lists = vec![
            list("3", &[map("a", "1", "1"), map("b", "2", "2"), map("c", "3", "3")]),
            list("9", &[map("b", "2", "7"), map("c", "8", "8"), map("d", "9", "9")]),
        ];
        let gone = json!({"type": "ERROR", "object": {"code": 410, "message": "too old", "reason": "Expired", "status": "Failure"}});
        let informers = Informers::new(server(lists, vec![gone]), tasks.clone(), shutdown.clone());
        let informer = informers.informer::<ConfigMap>();
        let told = told(&informer);
        assert!(informers.wait_for_sync().await);
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(
            *told.lock(),
            ["+a", "+b", "+c", "~b", "-c", "+c", "+d", "-a"],
            "c was replaced by another of its name"
        );
        assert_eq!(informer.store().list().len(), 3);
        assert!(informer.store().list().iter().all(|object| object.metadata.managed_fields.is_none()));

        // A late handler sees what is there; the same kind is not watched twice.
        let late = Arc::new(Mutex::new(0));
        let count = late.clone();
        informers.informer::<ConfigMap>().on_event(move |_| *count.lock() += 1);
        assert_eq!((*late.lock(), tasks.len()), (3, 1));
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_cannot_be_decoded_holds_up_no_other() {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let broken = |name: &str, uid: &str, version: &str| {
            let mut broken = map(name, uid, version);
            broken["data"] = json!(5);
            broken
        };
        // `a` was decodable when it was seen first; the list is read once more when it is not.
        let lists = vec![
            list("2", &[map("a", "1", "1"), map("b", "2", "2")]),
            list("5", &[broken("a", "1", "3"), map("b", "2", "2"), broken("c", "3", "4"), map("d", "4", "5")]),
        ];
        let event = json!({"type": "MODIFIED", "object": broken("a", "1", "3")});
        let informers = Informers::new(server(lists, vec![event]), tasks.clone(), shutdown.clone());
        let informer = informers.informer::<ConfigMap>();
        let told = told(&informer);
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(*told.lock(), ["+a", "+b", "+d"]);
        assert_eq!(informer.store().list().len(), 3, "what is not decodable any more stays as it was");
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
