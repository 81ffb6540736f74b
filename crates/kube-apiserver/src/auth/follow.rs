//! Following the objects that decisions depend on, over a loopback client.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between attempts to list or watch again.
const RETRY: Duration = Duration::from_secs(1);

/// Namespace ("" for what is not in one) and name.
pub(crate) type Key = (String, String);

/// What happened to the objects of one kind.
#[derive(Clone, Debug)]
pub(crate) enum Change<K> {
    /// These are all there are.
    Replace(Vec<K>),
    Put(K),
    Delete(K),
}

impl<K: Resource<DynamicType = ()>> Change<K> {
    /// Keeps what `value` makes of each object in `map`.
    pub(crate) fn apply<V>(self, map: &mut BTreeMap<Key, V>, value: impl Fn(K) -> V) {
        match self {
            Self::Replace(objects) => {
                *map = objects.into_iter().map(|object| (key(&object), value(object))).collect();
            }
            Self::Put(object) => {
                map.insert(key(&object), value(object));
            }
            Self::Delete(object) => {
                map.remove(&key(&object));
            }
        }
    }
}

pub(crate) fn key<K: Resource<DynamicType = ()>>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Feeds `sink` with all objects of a kind until `shutdown`; `synced` becomes true when the first list is complete.
pub(crate) async fn follow<K>(
    client: Client,
    mut sink: impl FnMut(Change<K>) + Send,
    synced: watch::Sender<bool>,
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut events = watcher::watcher(Api::<K>::all(client), watcher::Config::default()).boxed();
    // What was known stays in force while the list is read again.
    let mut listed = Vec::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(Event::Init)) => listed.clear(),
            Some(Ok(Event::InitApply(object))) => listed.push(object),
            Some(Ok(Event::Apply(object))) => sink(Change::Put(object)),
            Some(Ok(Event::Delete(object))) => sink(Change::Delete(object)),
            Some(Ok(Event::InitDone)) => {
                sink(Change::Replace(std::mem::take(&mut listed)));
                synced.send_replace(true);
            }
            Some(Err(error)) => {
                tracing::warn!(kind = %K::kind(&()), %error, "following objects failed, trying again");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => {}
                }
            }
            None => return,
        }
    }
}
