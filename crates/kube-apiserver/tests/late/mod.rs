//! A store whose watches are late: what the caches know is always a moment old.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use storage::{
    KeyValue, ListOptions, ListPage, Result, Revision, Store, WatchStream, embedded::Embedded, snapshot::Snapshot,
};

pub(crate) struct Late {
    pub(crate) store: Embedded,
    pub(crate) by: Duration,
}

#[async_trait]
impl Store for Late {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage> {
        self.store.list(prefix, options).await
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision> {
        self.store.put(key, value, expected, ttl).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.store.delete(key, expected).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        let by = self.by;
        let late = move |item| async move {
            tokio::time::sleep(by).await;
            item
        };
        Ok(self.store.watch(prefix, after).await?.then(late).boxed())
    }

    async fn revision(&self) -> Result<Revision> {
        self.store.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.store.compact(revision).await
    }

    async fn size(&self) -> Result<u64> {
        self.store.size().await
    }

    async fn save(&self) -> Result<Snapshot> {
        self.store.save().await
    }
}
