//! A store that can be made to wait, or to be out of reach.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use component_base::rng;
use futures::StreamExt;
use storage::{KeyValue, ListOptions, ListPage, Result, Revision, Store, StoreError, WatchStream, snapshot::Snapshot};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fine,
    /// Nothing is answered, neither what has been asked nor what will be.
    Paused,
    /// Everything fails, also what was carried out a moment ago.
    CutOff,
}

/// See the module.
pub struct Unsteady {
    inner: Arc<dyn Store>,
    weather: watch::Receiver<Weather>,
}

impl Unsteady {
    pub fn new(inner: Arc<dyn Store>, weather: watch::Receiver<Weather>) -> Self {
        Self { inner, weather }
    }

    /// Asks and answers each take a moment, or as long as the weather wants.
    async fn pass<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        moment().await;
        clear(&mut self.weather.clone()).await?;
        let outcome = operation.await;
        moment().await;
        clear(&mut self.weather.clone()).await?;
        outcome
    }
}

async fn moment() {
    tokio::time::sleep(Duration::from_micros(rng::range(0..3000))).await;
}

async fn clear(weather: &mut watch::Receiver<Weather>) -> Result<()> {
    match weather.wait_for(|weather| *weather != Weather::Paused).await {
        Ok(weather) if *weather == Weather::Fine => Ok(()),
        _ => Err(StoreError::Unavailable("cut off".into())),
    }
}

#[async_trait]
impl Store for Unsteady {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision)> {
        self.pass(self.inner.get(key)).await
    }

    async fn list(&self, prefix: &str, options: ListOptions) -> Result<ListPage> {
        self.pass(self.inner.list(prefix, options)).await
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision, ttl: Option<Duration>) -> Result<Revision> {
        self.pass(self.inner.put(key, value, expected, ttl)).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision> {
        self.pass(self.inner.delete(key, expected)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        let inner = self.pass(self.inner.watch(prefix, after)).await?;
        let state = (inner, self.weather.clone(), false);
        let stream = futures::stream::unfold(state, |(mut inner, mut weather, ended)| async move {
            if ended {
                return None;
            }
            let item = tokio::select! {
                biased;
                _ = weather.wait_for(|weather| *weather == Weather::CutOff) => {
                    Some(Err(StoreError::Unavailable("cut off".into())))
                }
                item = inner.next() => item,
            };
            let item = match clear(&mut weather).await {
                Ok(()) => item?,
                Err(error) => Err(error),
            };
            let ended = item.is_err();
            Some((item, (inner, weather, ended)))
        });
        Ok(stream.boxed())
    }

    async fn revision(&self) -> Result<Revision> {
        self.pass(self.inner.revision()).await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.pass(self.inner.compact(revision)).await
    }

    async fn size(&self) -> Result<u64> {
        self.pass(self.inner.size()).await
    }

    async fn save(&self) -> Result<Snapshot> {
        self.pass(self.inner.save()).await
    }
}
