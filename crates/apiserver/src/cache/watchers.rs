//! The watches of one resource, grouped by what they demand, so that a change reaches those that it may concern and wakes no others:
//! with a watch per node, a change of a pod costs one delivery, not one per node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{index::By, resource::CacheEvent, resource::Scope};

/// Events that a watch may lag behind before it is ended.
const QUEUE: usize = 4_096;

struct Watcher {
    scope: Scope,
    sender: mpsc::Sender<Arc<CacheEvent>>,
}

/// Watches that get the same events.
#[derive(Default)]
struct Group {
    watchers: Vec<Watcher>,
    /// How many they are, for themselves to see.
    size: Crowd,
}

/// How many watches share a watch's events, itself included.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    pub fn size(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub(super) struct Watchers {
    /// Those that demand no value of a label or field.
    general: Group,
    by_term: BTreeMap<By, BTreeMap<String, Group>>,
}

impl Watchers {
    /// Adds a watch and returns where its events arrive, and who else gets them.
    pub(super) fn add(&mut self, scope: &Scope) -> (mpsc::Receiver<Arc<CacheEvent>>, Crowd) {
        let (sender, events) = mpsc::channel(QUEUE);
        let group = match &scope.term {
            None => &mut self.general,
            Some(term) => self.by_term.entry(term.by.clone()).or_default().entry(term.value.clone()).or_default(),
        };
        // Those that ended since the group's last event would otherwise stay until the next.
        group.retain(|watcher| !watcher.sender.is_closed());
        group.watchers.push(Watcher { scope: scope.clone(), sender });
        group.size.0.store(group.watchers.len(), Ordering::Relaxed);
        (events, group.size.clone())
    }

    /// Hands the event to every watch that it may concern. A full queue closes the watch: its client notices, and starts again where it was.
    pub(super) fn dispatch(&mut self, event: &Arc<CacheEvent>) {
        self.general.send(event);
        for (by, values) in &mut self.by_term {
            let now = by.of(&event.entry);
            let before = event.prev.as_deref().and_then(|prev| by.of(prev));
            for value in [now, before.filter(|_| before != now)].into_iter().flatten() {
                if let Some(group) = values.get_mut(value) {
                    group.send(event);
                    if group.watchers.is_empty() {
                        values.remove(value);
                    }
                }
            }
        }
        self.by_term.retain(|_, values| !values.is_empty());
    }
}

impl Group {
    fn send(&mut self, event: &Arc<CacheEvent>) {
        self.retain(|watcher| {
            if watcher.scope.contains(&event.entry) {
                watcher.sender.try_send(Arc::clone(event)).is_ok()
            } else {
                !watcher.sender.is_closed()
            }
        });
    }

    fn retain(&mut self, stays: impl FnMut(&Watcher) -> bool) {
        self.watchers.retain(stays);
        self.size.0.store(self.watchers.len(), Ordering::Relaxed);
    }
}
