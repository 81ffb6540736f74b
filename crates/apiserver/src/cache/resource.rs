//! The cache of one resource: entries, recent events, watches.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    entry::Entry,
    forms::FormPool,
    index::{Indexes, Term},
    watchers::{Crowd, Watchers},
};
use crate::model::StorageModel;

/// Events kept for watches that start in the past.
pub(super) const WINDOW: usize = 10_000;
/// Fewer are kept when the former states in them take more than this.
const WINDOW_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Put,
    Delete,
}

/// One change. For deletions `entry` is the last state, at the revision of the removal.
#[derive(Debug)]
pub struct CacheEvent {
    pub change: Change,
    pub entry: Arc<Entry>,
    pub prev: Option<Arc<Entry>>,
}

impl CacheEvent {
    pub fn revision(&self) -> u64 {
        self.entry.revision
    }

    /// What the store's bytes of the former state take.
    fn former_bytes(&self) -> usize {
        self.prev.as_ref().map_or(0, |prev| prev.stored.len())
    }
}

/// Which keys a list or watch is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Empty: all namespaces, or a cluster-scoped resource.
    pub namespace: String,
    /// Empty: all names.
    pub name: String,
    /// What else all wanted objects have in common. Lists are narrowed to it; a watch sees what has it or just lost it.
    pub term: Option<Term>,
}

impl Scope {
    /// Whether the entry's name and namespace are those wanted.
    pub(super) fn contains(&self, entry: &Entry) -> bool {
        (self.namespace.is_empty() || self.namespace == entry.namespace())
            && (self.name.is_empty() || self.name == entry.name())
    }

    /// What keys of this scope start with.
    fn key_prefix(&self) -> String {
        if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) }
    }
}

/// The revision asked for is older than the window.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOld {
    pub requested: u64,
    pub oldest: u64,
}

/// A running watch: first `initial` (only when asked for), then `backlog`, then what arrives on `events`.
pub struct Subscription {
    /// The state at `revision`, when the watch starts from "now".
    pub initial: Vec<Arc<Entry>>,
    pub backlog: Vec<Arc<CacheEvent>>,
    /// Closed when this watch lagged too far or the cache was reset.
    pub events: mpsc::Receiver<Arc<CacheEvent>>,
    pub crowd: Crowd,
    /// Everything at or before this revision is in `initial` or `backlog`.
    pub revision: u64,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    indexes: Indexes,
    window: VecDeque<Arc<CacheEvent>>,
    /// What the store's bytes of the former states in the window take.
    window_bytes: usize,
    /// All events after this revision are in `window`.
    window_start: u64,
    /// The state that it was filled with. Events at or before this revision are known already.
    filled_at: u64,
    /// The newest revision whose event this cache has seen.
    revision: u64,
    /// Every event up to here, of any resource, has been applied: told by the hub once for all caches.
    progress: Arc<AtomicU64>,
    forms: Arc<FormPool>,
    /// What this server wrote and has not come back yet.
    written: BTreeSet<u64>,
    watchers: Watchers,
}

/// The cache of one resource.
pub struct ResourceCache {
    pub model: Arc<StorageModel>,
    state: Mutex<State>,
}

impl ResourceCache {
    pub fn new(model: Arc<StorageModel>) -> Self {
        ResourceCache { model, state: Mutex::new(State::default()) }
    }

    /// Takes over a complete state; watches end (their clients start again from a list).
    pub(super) fn reset(&self, items: Vec<(String, Bytes, u64)>, revision: u64) {
        let forms = self.forms();
        let entries = items
            .into_iter()
            .map(|(key, stored, rev)| {
                let entry = Entry::pooled(&self.model, Some(&forms), &key, stored, rev);
                (Arc::clone(&entry.key), Arc::new(entry))
            })
            .collect();
        let mut state = self.state.lock();
        let progress = Arc::clone(&state.progress);
        *state = State {
            entries,
            window_start: revision,
            filled_at: revision,
            revision,
            progress,
            forms,
            ..State::default()
        };
    }

    /// Applies one event of the store's watch. There may be several of one revision: keys of one lease expire together.
    pub(super) fn put(&self, key: &str, stored: Bytes, revision: u64) {
        if self.state.lock().filled_at >= revision {
            return;
        }
        let entry = Arc::new(Entry::pooled(&self.model, Some(&self.forms()), key, stored, revision));
        let mut state = self.state.lock();
        if state.was_written(revision) {
            entry.written_here();
        }
        let prev = state.entries.insert(Arc::clone(&entry.key), Arc::clone(&entry));
        state.indexes.replace(prev.as_ref(), Some(&entry));
        state.dispatch(CacheEvent { change: Change::Put, entry, prev });
    }

    pub(super) fn delete(&self, key: &str, revision: u64) {
        let mut state = self.state.lock();
        if state.filled_at >= revision {
            return;
        }
        if let Some(prev) = state.entries.remove(key) {
            state.indexes.replace(Some(&prev), None);
            let entry = Arc::new(prev.removed_at(revision));
            state.dispatch(CacheEvent { change: Change::Delete, entry, prev: Some(prev) });
        }
    }

    /// Takes over where to read up to which revision nothing is missing, and what accounts for encoded forms.
    pub(super) fn join(&self, progress: &Arc<AtomicU64>, forms: &Arc<FormPool>) {
        let mut state = self.state.lock();
        (state.progress, state.forms) = (Arc::clone(progress), Arc::clone(forms));
    }

    fn forms(&self) -> Arc<FormPool> {
        Arc::clone(&self.state.lock().forms)
    }

    /// Tells that this server wrote the object, complete and in the storage version, as of `revision`.
    pub fn written(&self, key: &str, revision: u64) {
        let mut state = self.state.lock();
        match state.entries.get(key) {
            Some(entry) if entry.revision == revision => entry.written_here(),
            _ if state.revision < revision => _ = state.written.insert(revision),
            _ => {}
        }
    }

    /// The newest revision that this cache has seen.
    pub fn revision(&self) -> u64 {
        self.state.lock().revision()
    }

    /// One object and the revision at which this is true.
    pub fn get(&self, key: &str) -> (Option<Arc<Entry>>, u64) {
        let state = self.state.lock();
        (state.entries.get(key).cloned(), state.revision())
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// The number of objects, and the bytes that they take in the store.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.entries.len(), state.entries.values().map(|entry| entry.stored.len()).sum())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of a scope in key order, and the revision at which that is the whole state.
    pub fn list(&self, scope: &Scope) -> (Vec<Arc<Entry>>, u64) {
        let mut state = self.state.lock();
        (state.list(scope), state.revision())
    }

    /// Starts a watch after `from`; `None` starts from the present state, which comes as `initial`.
    pub fn watch(&self, scope: &Scope, from: Option<u64>) -> Result<Subscription, TooOld> {
        let mut state = self.state.lock();
        let (initial, backlog) = match from {
            None => (state.list(scope), Vec::new()),
            Some(from) if from < state.window_start => {
                return Err(TooOld { requested: from, oldest: state.window_start });
            }
            Some(from) => {
                let first = state.window.partition_point(|e| e.revision() <= from);
                let backlog = state.window.range(first..).filter(|e| scope.contains(&e.entry)).cloned();
                (Vec::new(), backlog.collect())
            }
        };
        let (events, crowd) = state.watchers.add(scope);
        Ok(Subscription { initial, backlog, events, crowd, revision: state.revision() })
    }
}

impl State {
    /// The revision at which this is the whole state. An event is applied under the lock before progress tells of it.
    fn revision(&self) -> u64 {
        self.revision.max(self.progress.load(Ordering::Acquire))
    }

    fn list(&mut self, scope: &Scope) -> Vec<Arc<Entry>> {
        let prefix = scope.key_prefix();
        if !scope.name.is_empty() && !prefix.is_empty() {
            return self.entries.get(format!("{prefix}{}", scope.name).as_str()).cloned().into_iter().collect();
        }
        let narrowed = scope.term.as_ref().and_then(|term| self.indexes.find(term, &self.entries));
        narrowed
            .unwrap_or(&self.entries)
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, entry)| scope.contains(entry))
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// Whether this server wrote the revision. What is older has come, or never will.
    fn was_written(&mut self, revision: u64) -> bool {
        while let Some(first) = self.written.first().filter(|first| **first <= revision).copied() {
            self.written.remove(&first);
            if first == revision {
                return true;
            }
        }
        false
    }

    fn dispatch(&mut self, event: CacheEvent) {
        let event = Arc::new(event);
        self.revision = event.revision();
        self.window_bytes += event.former_bytes();
        while self.window.len() >= WINDOW || self.window_bytes > WINDOW_BYTES {
            let Some(oldest) = self.window.pop_front() else { break };
            self.window_bytes -= oldest.former_bytes();
            self.window_start = oldest.revision();
        }
        self.window.push_back(Arc::clone(&event));
        self.watchers.dispatch(&event);
        // Who still waits for the former state encodes it again.
        if let Some(prev) = &event.prev {
            prev.release();
        }
    }
}
