//! Everything that was ever written, in order: what two runs with one seed must have in common.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use storage::{Event, Revision, Store};
use tokio_util::task::AbortOnDropHandle;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub revision: u64,
    pub key: String,
    /// `None`: removed.
    pub value: Option<Bytes>,
}

/// The writes of a cluster's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Entry>);

/// Records the writes of a store.
pub struct Recorder {
    entries: Arc<Mutex<Vec<Entry>>>,
    _task: AbortOnDropHandle<()>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, key, value } = self;
        match value {
            Some(value) => write!(f, "{revision} put {key}: {}", String::from_utf8_lossy(value).escape_debug()),
            None => write!(f, "{revision} remove {key}"),
        }
    }
}

impl History {
    /// Fails with the first difference, and what came before it.
    ///
    /// # Panics
    /// If the histories differ.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let pairs = self.0.iter().zip(&other.0);
        let same = pairs.take_while(|(a, b)| a == b).count();
        if same == self.0.len() && same == other.0.len() {
            return;
        }
        let before: Vec<_> = self.0[same.saturating_sub(5)..same].iter().map(|entry| entry.key.as_str()).collect();
        let show = |history: &Self| history.0.get(same).map_or("(end)".to_owned(), ToString::to_string);
        let (one, two) = (show(self), show(other));
        panic!("histories differ after {same} writes\nbefore: {before:#?}\none: {one}\n\ntwo: {two}");
    }

    /// How many writes there were under a prefix.
    pub fn count(&self, prefix: &str) -> usize {
        self.0.iter().filter(|entry| entry.key.starts_with(prefix)).count()
    }
}

impl Recorder {
    /// Records from the store's beginning.
    ///
    /// # Errors
    /// If the store has forgotten its beginning.
    pub async fn start(store: &dyn Store) -> storage::Result<Self> {
        let mut events = store.watch("/", Revision(0)).await?;
        let entries = Arc::<Mutex<Vec<Entry>>>::default();
        let sink = entries.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let entry = match event {
                    Event::Put { kv, .. } => {
                        Entry { revision: kv.mod_revision.0, key: kv.key, value: Some(kv.value) }
                    }
                    Event::Delete { prev, revision } => Entry { revision: revision.0, key: prev.key, value: None },
                    Event::Progress(_) => continue,
                };
                sink.lock().push(entry);
            }
        });
        Ok(Self { entries, _task: AbortOnDropHandle::new(task) })
    }

    /// What has been recorded.
    pub fn history(&self) -> History {
        History(self.entries.lock().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64, value: &'static str) -> Entry {
        Entry { revision, key: "/a".into(), value: Some(Bytes::from_static(value.as_bytes())) }
    }

    #[test]
    #[should_panic(expected = "histories differ after 1 writes")]
    fn a_difference_is_found() {
        let one = History(vec![entry(1, "x"), entry(2, "y")]);
        one.assert_same(&one.clone());
        one.assert_same(&History(vec![entry(1, "x"), entry(2, "z")]));
    }
}
