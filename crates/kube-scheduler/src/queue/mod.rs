//! The pods that wait for a node.
//!
//! A pod waits in one of four places: *active* (next to be tried), *backoff* (tried and worth trying again, but not at once),
//! *pending* (refused, until something in the cluster changes that concerns one of the plugins that refused it), *gated* (held
//! back before it was ever tried). The queue decides nothing about nodes and keeps no clock: the time is an argument.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api_types::k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::{cache::PodInfo, explain};

/// How long a refused pod waits at most for something to change.
const MAX_PENDING: Duration = Duration::from_secs(5 * 60);

/// A waiting pod and what is known of its earlier attempts.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it first came.
    pub since: Timestamp,
    /// The plugins that refused it last time, or hold it back.
    pub refused_by: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then. After an error the wait is not cut short.
    Backoff {
        until: Instant,
        error: bool,
    },
    /// Since then.
    Pending {
        since: Instant,
    },
    Gated,
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    place: Place,
    /// Until when an attempt is not repeated.
    not_before: Instant,
}

type Rank = (Reverse<i32>, Timestamp, u64);

/// The queue.
#[derive(Debug)]
pub struct Queue {
    initial_backoff: Duration,
    max_backoff: Duration,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Active pods in the order in which they are tried: by priority, then by age.
    active: BTreeMap<Rank, Arc<str>>,
    ranks: BTreeMap<Arc<str>, Rank>,
    backoff: BTreeSet<(Instant, Arc<str>)>,
    /// Pending pods by the time since when they wait.
    pending: BTreeSet<(Instant, Arc<str>)>,
    arrivals: u64,
}

/// How many pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Next to be tried.
    pub active: usize,
    /// To be tried again after a while.
    pub backoff: usize,
    /// Until something changes.
    pub pending: usize,
    /// Held back.
    pub gated: usize,
}

impl Queue {
    /// An empty queue with the bounds of the wait after a failed attempt.
    #[must_use]
    pub fn new(initial_backoff: Duration, max_backoff: Duration) -> Self {
        Queue {
            initial_backoff,
            max_backoff,
            entries: BTreeMap::new(),
            active: BTreeMap::new(),
            ranks: BTreeMap::new(),
            backoff: BTreeSet::new(),
            pending: BTreeSet::new(),
            arrivals: 0,
        }
    }

    /// The pod as it waits.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Waiting> {
        self.entries.get(key).map(|e| &e.waiting)
    }

    /// Takes in a new pod: at once, or held back by `gate`.
    pub fn add(&mut self, pod: Arc<PodInfo>, gate: Option<&'static str>, since: Timestamp, now: Instant) {
        self.remove(&pod.key);
        let waiting = Waiting { pod, attempts: 0, since, refused_by: gate.into_iter().collect() };
        self.insert(waiting, if gate.is_some() { Place::Gated } else { Place::Active }, now);
    }

    /// Replaces a waiting pod by its newer self; it keeps its place. False where it does not wait here.
    pub fn update(&mut self, pod: Arc<PodInfo>) -> bool {
        let Some(mut entry) = self.take(&pod.key) else { return false };
        entry.waiting.pod = pod;
        self.insert(entry.waiting, entry.place, entry.not_before);
        true
    }

    /// Where the pod waits.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<explain::Place> {
        Some(match self.entries.get(key)?.place {
            Place::Active => explain::Place::Active,
            Place::Backoff { .. } => explain::Place::Backoff,
            Place::Pending { .. } => explain::Place::Unschedulable,
            Place::Gated => explain::Place::Gated,
        })
    }

    /// Whether the pod is held back by a plugin.
    #[must_use]
    pub fn is_gated(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|e| e.place == Place::Gated)
    }

    /// The pods that are held back by a plugin.
    pub fn gated(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.entries.values().filter(|e| e.place == Place::Gated).map(|e| &e.waiting.pod)
    }

    /// Lets a pod that was held back go ahead.
    pub fn ungate(&mut self, key: &str, now: Instant) {
        if let Some(mut entry) = self.take(key) {
            entry.waiting.refused_by.clear();
            self.insert(entry.waiting, Place::Active, now);
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &str) -> Option<Waiting> {
        self.take(key).map(|e| e.waiting)
    }

    /// The next pod to try, which leaves the queue. Pods in backoff go when nobody else waits: the wait is there to let others
    /// through.
    pub fn pop(&mut self) -> Option<Waiting> {
        let key = match self.active.first_key_value() {
            Some((_, key)) => key.clone(),
            None => self.backoff.iter().map(|(_, key)| key).find(|key| !self.failed_with_error(key))?.clone(),
        };
        let mut waiting = self.take(&key)?.waiting;
        waiting.attempts += 1;
        Some(waiting)
    }

    fn failed_with_error(&self, key: &str) -> bool {
        matches!(self.entries.get(key).map(|e| e.place), Some(Place::Backoff { error: true, .. }))
    }

    /// Takes back a pod that fits nowhere.
    pub fn refused(&mut self, mut waiting: Waiting, by: BTreeSet<&'static str>, now: Instant) {
        waiting.refused_by = by;
        let not_before = now + self.backoff_of(waiting.attempts);
        self.insert(waiting, Place::Pending { since: now }, not_before);
    }

    /// Takes back a pod whose attempt failed for a reason other than the cluster's state.
    pub fn failed(&mut self, mut waiting: Waiting, now: Instant) {
        waiting.refused_by.clear();
        let until = now + self.backoff_of(waiting.attempts);
        self.insert(waiting, Place::Backoff { until, error: true }, until);
    }

    /// Moves the pending pods on for which the change `helps`.
    pub fn moved(&mut self, now: Instant, mut helps: impl FnMut(&Waiting) -> bool) {
        let mut helped = |key: &Arc<str>| self.entries.get(key).is_some_and(|e| helps(&e.waiting));
        let moving: Vec<_> = self.pending.iter().map(|(_, key)| key).filter(|key| helped(key)).cloned().collect();
        moving.iter().for_each(|key| self.move_on(key, now));
    }

    /// Moves one pending pod on.
    pub fn move_on(&mut self, key: &str, now: Instant) {
        if !matches!(self.entries.get(key).map(|e| e.place), Some(Place::Pending { .. })) {
            return;
        }
        let Some(entry) = self.take(key) else { return };
        let until = entry.not_before;
        let place = if until <= now { Place::Active } else { Place::Backoff { until, error: false } };
        self.insert(entry.waiting, place, until);
    }

    /// Activates the pods whose wait is over, and lets those try again that nothing moved for long.
    pub fn flush(&mut self, now: Instant) {
        while let Some((_, key)) = self.backoff.first().filter(|(until, _)| *until <= now).cloned() {
            let Some(entry) = self.take(&key) else { break };
            self.insert(entry.waiting, Place::Active, entry.not_before);
        }
        while let Some((_, key)) = self.pending.first().filter(|(since, _)| *since + MAX_PENDING <= now).cloned() {
            self.move_on(&key, now);
        }
    }

    /// When [`Self::flush`] has something to do next.
    #[must_use]
    pub fn next_flush(&self) -> Option<Instant> {
        let pending = self.pending.first().map(|(since, _)| *since + MAX_PENDING);
        self.backoff.first().map(|(until, _)| *until).into_iter().chain(pending).min()
    }

    /// How many pods wait where.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (active, backoff, pending) = (self.active.len(), self.backoff.len(), self.pending.len());
        Counts { active, backoff, pending, gated: self.entries.len() - active - backoff - pending }
    }

    fn backoff_of(&self, attempts: u32) -> Duration {
        let doubled = 2u32.checked_pow(attempts.saturating_sub(1)).and_then(|f| self.initial_backoff.checked_mul(f));
        doubled.map_or(self.max_backoff, |d| d.min(self.max_backoff))
    }

    fn insert(&mut self, waiting: Waiting, place: Place, not_before: Instant) {
        let key = waiting.pod.key.clone();
        match place {
            Place::Active => {
                self.arrivals += 1;
                let rank = (Reverse(waiting.pod.priority), waiting.since, self.arrivals);
                self.active.insert(rank, key.clone());
                self.ranks.insert(key.clone(), rank);
            }
            Place::Backoff { until, .. } => {
                self.backoff.insert((until, key.clone()));
            }
            Place::Pending { since } => {
                self.pending.insert((since, key.clone()));
            }
            Place::Gated => {}
        }
        self.entries.insert(key, Entry { waiting, place, not_before });
    }

    fn take(&mut self, key: &str) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        if let Some(rank) = self.ranks.remove(&key) {
            self.active.remove(&rank);
        }
        match entry.place {
            Place::Backoff { until, .. } => self.backoff.remove(&(until, key)),
            Place::Pending { since } => self.pending.remove(&(since, key)),
            Place::Active | Place::Gated => false,
        };
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
