//! Live watches over the state. A watch is a cursor into the history, so it costs no queue; one that is not read while
//! compaction passes its cursor gets an error as its last item.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use futures::StreamExt as _;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::mvcc::{Batch, Forgotten, Mvcc};
use crate::{Event, Result, Revision, StoreError, WatchStream};

/// How many events a watch takes out under one lock.
const CHUNK: usize = 256;

/// The state and those who watch it, changed together under one lock: a watch sees a write if and only if a later read
/// does.
#[derive(Default)]
pub(super) struct Hub {
    pub state: Mvcc,
    watches: BTreeMap<u64, Watch>,
    next_id: u64,
    closed: bool,
}

struct Watch {
    prefix: String,
    /// Everything of this prefix before this revision was handed out; `None`: everything there is.
    behind: Option<u64>,
    /// The last revision that the receiver knows of.
    reported: u64,
    /// Somebody asked how far this watch is.
    wanted: bool,
    /// Compaction passed the cursor.
    overtaken: bool,
    notify: Arc<Notify>,
}

/// What a watch has for its receiver now.
enum Step {
    Events(Vec<Event>),
    Idle,
    Failed(StoreError),
}

/// The receiving end.
struct Receiver {
    hub: Arc<RwLock<Hub>>,
    id: u64,
    notify: Arc<Notify>,
    ready: VecDeque<Event>,
    failed: bool,
}

// === impl Hub ===

impl Hub {
    pub(super) fn new(state: Mvcc) -> Self {
        Self { state, ..Self::default() }
    }

    /// Makes a batch true and wakes whom it concerns.
    pub(super) fn publish(&mut self, batch: &Batch) {
        self.state.apply(batch);
        for watch in self.watches.values_mut().filter(|w| w.behind.is_none()) {
            let first = batch.records().find(|(_, record)| record.key.starts_with(&watch.prefix));
            if let Some((revision, _)) = first {
                watch.behind = Some(revision);
                watch.notify.notify_one();
            }
        }
    }

    /// Has every watch report how far it is.
    pub(super) fn want_progress(&mut self) {
        let current = self.state.current();
        for watch in self.watches.values_mut() {
            if watch.reported < current && !watch.wanted {
                watch.wanted = true;
                watch.notify.notify_one();
            }
        }
    }

    /// Whether some watch has not reported the newest revision, nor been asked to.
    pub(super) fn lagging(&self) -> bool {
        let current = self.state.current();
        self.watches.values().any(|watch| watch.reported < current && !watch.wanted)
    }

    pub(super) fn compact(&mut self, step: &Forgotten) {
        self.state.compact(step);
        for watch in self.watches.values_mut() {
            if watch.behind.is_some_and(|from| from <= step.revision) {
                watch.overtaken = true;
                watch.notify.notify_one();
            }
        }
    }

    /// Ends every watch.
    pub(super) fn close(&mut self) {
        self.closed = true;
        for watch in self.watches.values() {
            watch.notify.notify_one();
        }
    }

    fn step(&mut self, id: u64) -> Step {
        let current = self.state.current();
        let Some(watch) = self.watches.get_mut(&id) else {
            return Step::Idle;
        };
        if watch.overtaken {
            return Step::Failed(StoreError::Compacted {
                requested: Revision(watch.behind.unwrap_or(current)),
                oldest: Revision(self.state.compacted()),
            });
        }
        let mut events = Vec::new();
        if let Some(from) = watch.behind {
            (events, watch.behind) = self.state.events(&watch.prefix, from, CHUNK);
            watch.reported = watch.behind.map_or(watch.reported, |next| next - 1);
        }
        if watch.behind.is_none() && (watch.wanted || !events.is_empty()) {
            let reached = events.last().map(Event::revision);
            if reached != Some(Revision(current)) && watch.reported < current {
                events.push(Event::Progress(Revision(current)));
            }
            watch.reported = current;
            watch.wanted = false;
        }
        match events.is_empty() {
            false => Step::Events(events),
            true if self.closed => Step::Failed(StoreError::Unavailable("closed".into())),
            true => Step::Idle,
        }
    }
}

/// Every change under `prefix` after `after`.
pub(super) fn watch(hub: &Arc<RwLock<Hub>>, prefix: &str, after: Revision) -> Result<WatchStream> {
    let notify = Arc::new(Notify::new());
    let mut guard = hub.write();
    guard.state.check(after)?;
    let id = guard.next_id;
    guard.next_id += 1;
    let behind = (after.0 < guard.state.current()).then_some(after.0 + 1);
    guard.watches.insert(
        id,
        Watch {
            prefix: prefix.to_owned(),
            behind,
            reported: after.0,
            wanted: false,
            overtaken: false,
            notify: notify.clone(),
        },
    );
    drop(guard);
    let receiver = Receiver { hub: hub.clone(), id, notify, ready: VecDeque::new(), failed: false };
    Ok(futures::stream::unfold(receiver, |mut receiver| async {
        let item = receiver.next().await?;
        Some((item, receiver))
    })
    .boxed())
}

// === impl Receiver ===

impl Receiver {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if self.failed {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let step = self.hub.write().step(self.id);
            match step {
                Step::Events(events) => self.ready = events.into(),
                Step::Idle => self.notify.notified().await,
                Step::Failed(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.hub.write().watches.remove(&self.id);
    }
}
