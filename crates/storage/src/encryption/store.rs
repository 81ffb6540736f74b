//! The store between plain values above and encrypted ones below.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Assignment, Opened};
use crate::{
    Event, KeyValue, ListOptions, ListPage, Result, Revision, Store, StoreError, WatchStream, snapshot::Snapshot,
};

/// What stands for a value that can't be decrypted: this, and why. No provider has this name.
const UNREADABLE: &str = "k8s:enc:unreadable:";

/// See the module.
pub struct Encrypted {
    inner: Arc<dyn Store>,
    shared: Arc<Shared>,
}

struct Shared {
    assignment: Arc<dyn Assignment>,
    /// Before which renewal somebody was last given an unreadable value, if nobody has been told since to begin anew.
    unreadable: Mutex<Option<u64>>,
}

/// Why this value of a list or watch can't be read; `None` for readable ones.
pub fn unreadable(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_prefix(UNREADABLE.as_bytes())?).ok()
}

// === impl Encrypted ===

impl Encrypted {
    /// `inner` with values encrypted as `assignment` says.
    pub fn new(inner: Arc<dyn Store>, assignment: Arc<dyn Assignment>) -> Self {
        Self { inner, shared: Arc::new(Shared { assignment, unreadable: Mutex::default() }) }
    }

    async fn seal(&self, key: &str, value: &Bytes) -> Result<Bytes> {
        let sealed = self.shared.assignment.transformer(key).seal(key, value).await;
        sealed.map_err(|error| StoreError::Transform { key: key.to_owned(), reason: error.to_string() })
    }

    /// The other's value, of a write that lost, is decrypted too.
    async fn readable<T>(&self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(StoreError::Conflict { key, current: Some(kv) }) => {
                Err(StoreError::Conflict { key, current: Some(self.shared.open(kv).await?) })
            }
            other => other,
        }
    }
}

#[async_trait]
impl Store for Encrypted {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        let (kv, revision) = self.inner.get(key).await?;
        Ok((
            match kv {
                Some(kv) => Some(self.shared.open(kv).await?),
                None => None,
            },
            revision,
        ))
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage> {
        let mut page = self.inner.list(prefix, options).await?;
        for kv in &mut page.items {
            self.shared.show(kv).await;
            // Thousands of them would keep others waiting.
            tokio::task::coop::consume_budget().await;
        }
        Ok(page)
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision> {
        let sealed = self.seal(key, &value).await?;
        self.readable(self.inner.put(key, sealed, expected, ttl).await).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.readable(self.inner.delete(key, expected).await).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        let watch = Watch {
            inner: self.inner.watch(prefix, after).await?,
            renewals: self.shared.assignment.renewals(),
            shared: self.shared.clone(),
            failed: false,
        };
        let events = futures::stream::unfold(watch, |mut watch| async {
            let item = watch.next().await?;
            Some((item, watch))
        });
        Ok(events.boxed())
    }

    async fn revision(&self) -> Result<Revision> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.inner.compact(revision).await
    }

    async fn size(&self) -> Result<u64> {
        self.inner.size().await
    }

    /// What it holds stays encrypted.
    async fn save(&self) -> Result<Snapshot> {
        self.inner.save().await
    }
}

// === impl Shared ===

impl Shared {
    async fn open(&self, mut kv: KeyValue) -> Result<KeyValue> {
        match self.assignment.transformer(&kv.key).open(&kv.key, &kv.value).await {
            Ok(Opened { value, stale }) => {
                (kv.value, kv.stale) = (value, stale);
                Ok(kv)
            }
            Err(error) => Err(StoreError::Transform { key: kv.key, reason: error.to_string() }),
        }
    }

    /// Decrypts in place; what can't be is marked.
    async fn show(&self, kv: &mut KeyValue) {
        let renewal = *self.assignment.renewals().borrow();
        match self.assignment.transformer(&kv.key).open(&kv.key, &kv.value).await {
            Ok(Opened { value, stale }) => (kv.value, kv.stale) = (value, stale),
            Err(error) => {
                tracing::warn!(key = %kv.key, %error, "a stored value can't be decrypted");
                kv.value = Bytes::from(format!("{UNREADABLE}{error}"));
                self.unreadable.lock().get_or_insert(renewal);
            }
        }
    }

    async fn show_event(&self, mut event: Event) -> Event {
        match &mut event {
            Event::Put { kv, prev } => {
                self.show(kv).await;
                if let Some(prev) = prev {
                    self.show(prev).await;
                }
            }
            Event::Delete { prev, .. } => self.show(prev).await,
            Event::Progress(_) => {}
        }
        event
    }

    /// Whether there was a renewal since an unreadable value was given out; tells it once.
    fn begins_anew(&self) -> bool {
        let now = *self.assignment.renewals().borrow();
        self.unreadable.lock().take_if(|renewal| *renewal < now).is_some()
    }
}

/// A watch that also ends, as after a compaction, when what it showed as unreadable may be readable.
struct Watch {
    inner: WatchStream,
    renewals: watch::Receiver<u64>,
    shared: Arc<Shared>,
    failed: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Event>> {
        if self.failed {
            return None;
        }
        loop {
            if self.shared.begins_anew() {
                self.failed = true;
                return Some(Err(StoreError::Compacted { requested: Revision(0), oldest: Revision(0) }));
            }
            let item = tokio::select! {
                item = self.inner.next() => item?,
                Ok(()) = self.renewals.changed() => continue,
            };
            return Some(match item {
                Ok(event) => Ok(self.shared.show_event(event).await),
                Err(error) => Err(error),
            });
        }
    }
}
