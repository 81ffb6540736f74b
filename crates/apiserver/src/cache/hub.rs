//! Feeds all caches from one watch of the store.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use parking_lot::RwLock;
use storage::{Event, ListOptions, Revision, Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    forms::FormPool,
    resource::{ResourceCache, WINDOW},
};

/// Keys read at once while the caches fill.
const PAGE: usize = 2_000;
/// Pause before the store is asked again after a failure.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("the cache did not reach revision {wanted} in time, it is at {reached}")]
    Stale { wanted: u64, reached: u64 },
    #[error("the cache is shutting down")]
    Closed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Registration {
    cache: Arc<ResourceCache>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// Owner of all caches. [`Hub::run`] is the task that keeps them current.
pub struct Hub {
    store: Arc<dyn Store>,
    /// What all keys start with (`/registry/`).
    root: String,
    /// By key prefix.
    caches: RwLock<BTreeMap<String, Arc<ResourceCache>>>,
    /// All caches contain everything up to this revision: for the caches, and for those who wait.
    reached: Arc<AtomicU64>,
    progress: watch::Sender<u64>,
    /// The encoded forms of all caches.
    forms: Arc<FormPool>,
    /// Whether the caches have been filled.
    filled: watch::Sender<bool>,
    registrations: mpsc::UnboundedSender<Registration>,
    pending: parking_lot::Mutex<Option<mpsc::UnboundedReceiver<Registration>>>,
}

impl Hub {
    pub fn new(store: Arc<dyn Store>, root: &str, forms: FormPool) -> Arc<Hub> {
        let (registrations, pending) = mpsc::unbounded_channel();
        Arc::new(Hub {
            store,
            root: root.to_owned(),
            caches: RwLock::default(),
            reached: Arc::default(),
            progress: watch::channel(0).0,
            forms: Arc::new(forms),
            filled: watch::channel(false).0,
            registrations,
            pending: parking_lot::Mutex::new(Some(pending)),
        })
    }

    /// Adds a cache before [`Hub::run`] starts.
    pub fn add(&self, cache: Arc<ResourceCache>) {
        cache.join(&self.reached, &self.forms);
        self.caches.write().insert(cache.model.prefix.clone(), cache);
    }

    /// Adds a cache while the hub runs, and waits until it is filled.
    pub async fn register(&self, cache: Arc<ResourceCache>) -> Result<(), HubError> {
        let (done, filled) = oneshot::channel();
        self.registrations.send(Registration { cache, done }).map_err(|_| HubError::Closed)?;
        Ok(filled.await.map_err(|_| HubError::Closed)??)
    }

    /// The encoded forms of all caches.
    pub fn forms(&self) -> &FormPool {
        &self.forms
    }

    /// Stops feeding the cache of this prefix; its watches end.
    pub fn remove(&self, prefix: &str) {
        if let Some(cache) = self.caches.write().remove(prefix) {
            cache.reset(Vec::new(), *self.progress.borrow());
        }
    }

    /// The revision up to which all caches are complete.
    pub fn revision(&self) -> u64 {
        *self.progress.borrow()
    }

    /// Whether the caches have been filled.
    pub fn is_ready(&self) -> bool {
        *self.filled.borrow()
    }

    /// Waits until the caches have been filled.
    pub async fn wait_filled(&self, limit: Duration) -> Result<(), HubError> {
        let mut filled = self.filled.subscribe();
        match tokio::time::timeout(limit, filled.wait_for(|f| *f)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(HubError::Closed),
            Err(_) => Err(HubError::Stale { wanted: 0, reached: 0 }),
        }
    }

    /// Waits until all caches contain everything up to `revision`.
    pub async fn wait_for(&self, revision: u64, limit: Duration) -> Result<(), HubError> {
        let mut progress = self.progress.subscribe();
        let reached = tokio::time::timeout(limit, progress.wait_for(|r| *r >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(HubError::Closed),
            Err(_) => Err(HubError::Stale { wanted: revision, reached: self.revision() }),
        }
    }

    /// Waits until the caches contain everything that the store acknowledged before this call.
    pub async fn catch_up(&self, limit: Duration) -> Result<u64, HubError> {
        let revision = self.store.revision().await?.0;
        self.wait_for(revision, limit).await?;
        Ok(revision)
    }

    /// Fills the caches and follows the store until `shutdown`. May be called once.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(mut registrations) = self.pending.lock().take() else { return };
        let mut refill = true;
        while !shutdown.is_cancelled() {
            let failed = tokio::select! {
                () = shutdown.cancelled() => return,
                result = self.follow(refill, &mut registrations) => result,
            };
            // What the caches have stays true: only what came since is missing, unless the store has forgotten it.
            refill = !self.is_ready() || matches!(failed, Err(StoreError::Compacted { .. }));
            if let Err(e) = failed {
                tracing::warn!(error = %e, refill, "watch of the store ended");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    async fn follow(
        &self,
        refill: bool,
        registrations: &mut mpsc::UnboundedReceiver<Registration>,
    ) -> Result<(), StoreError> {
        let newest = self.store.revision().await?.0;
        let known = self.revision();
        // A store that was brought back to an earlier state begins anew.
        let revision = if refill || newest < known { self.fill(newest).await? } else { known };
        let mut events = self.store.watch(&self.root, Revision(revision)).await?;
        self.reached(revision, newest);
        let mut complete = revision;
        loop {
            // A revision is complete when something of another one comes, or nothing is at hand.
            let event = match events.next().now_or_never() {
                Some(event) => event,
                None => {
                    self.reached(complete, newest);
                    tokio::select! {
                        event = events.next() => event,
                        Some(registration) = registrations.recv() => {
                            self.take_in(registration).await;
                            continue;
                        }
                    }
                }
            };
            let Some(event) = event else { return Ok(()) };
            let event = event?;
            if event.revision().0 > complete {
                self.reached(complete, newest);
            }
            complete = self.apply(event).max(complete);
        }
    }

    async fn take_in(&self, registration: Registration) {
        registration.cache.join(&self.reached, &self.forms);
        let result = self.fill_one(&registration.cache).await;
        if result.is_ok() {
            self.add(registration.cache);
        }
        // The caller may have gone; the cache is there all the same.
        let _gone = registration.done.send(result);
    }

    /// Reads the whole store into the caches as it stood a window of events before `newest`, so that watches from before a restart go on;
    /// where that is compacted away, or clients have already seen more, as it stands now. Returns the revision that was read.
    async fn fill(&self, newest: u64) -> Result<u64, StoreError> {
        let past = Revision(newest.saturating_sub(WINDOW as u64).max(1));
        if !self.is_ready() && past.0 < newest {
            match self.fill_at(Some(past)).await {
                Err(StoreError::Compacted { .. }) => {}
                result => return result,
            }
        }
        self.fill_at(None).await
    }

    async fn fill_at(&self, at: Option<Revision>) -> Result<u64, StoreError> {
        let mut items: BTreeMap<String, Vec<(String, Bytes, u64)>> =
            self.caches.read().keys().map(|prefix| (prefix.clone(), Vec::new())).collect();
        let mut options = ListOptions { at, limit: PAGE, ..ListOptions::default() };
        loop {
            let page = self.store.list(&self.root, options.clone()).await?;
            options.at = Some(page.revision);
            options.after = page.items.last().map(|kv| kv.key.clone());
            for kv in page.items {
                if let Some((prefix, items)) = floor(&mut items, &kv.key) {
                    items.push((kv.key[prefix.len()..].to_owned(), kv.value, kv.mod_revision.0));
                }
            }
            if page.remaining == 0 {
                for (prefix, items) in items {
                    if let Some(cache) = self.caches.read().get(&prefix) {
                        cache.reset(items, page.revision.0);
                    }
                }
                return Ok(page.revision.0);
            }
        }
    }

    async fn fill_one(&self, cache: &ResourceCache) -> Result<(), StoreError> {
        let prefix = &cache.model.prefix;
        let page = self.store.list(prefix, ListOptions::default()).await?;
        let items = page.items.into_iter();
        let items = items.map(|kv| (kv.key[prefix.len()..].to_owned(), kv.value, kv.mod_revision.0));
        cache.reset(items.collect(), page.revision.0);
        Ok(())
    }

    /// Takes the event into its cache and returns its revision.
    fn apply(&self, event: Event) -> u64 {
        match event {
            Event::Put { kv, .. } => {
                if let Some((prefix, cache)) = self.cache_of(&kv.key) {
                    cache.put(&kv.key[prefix..], kv.value, kv.mod_revision.0);
                }
                kv.mod_revision.0
            }
            Event::Delete { prev, revision } => {
                if let Some((prefix, cache)) = self.cache_of(&prev.key) {
                    cache.delete(&prev.key[prefix..], revision.0);
                }
                revision.0
            }
            Event::Progress(revision) => revision.0,
        }
    }

    /// Everything up to `revision` is in the caches. Before `newest` they tell the past, and nobody is told so.
    fn reached(&self, revision: u64, newest: u64) {
        if revision < newest {
            return;
        }
        self.reached.fetch_max(revision, Ordering::Release);
        self.progress.send_if_modified(|r| revision > std::mem::replace(r, revision.max(*r)));
        self.filled.send_if_modified(|filled| !std::mem::replace(filled, true));
    }

    /// The cache that holds `key`, and the length of its prefix.
    fn cache_of(&self, key: &str) -> Option<(usize, Arc<ResourceCache>)> {
        let caches = self.caches.read();
        let (prefix, cache) = caches.range::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        key.starts_with(prefix.as_str()).then(|| (prefix.len(), Arc::clone(cache)))
    }
}

/// The entry whose prefix `key` has.
fn floor<'a, T>(map: &'a mut BTreeMap<String, T>, key: &str) -> Option<(&'a str, &'a mut T)> {
    let (prefix, value) = map.range_mut::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
    key.starts_with(prefix.as_str()).then_some((prefix.as_str(), value))
}
