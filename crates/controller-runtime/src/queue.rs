//! A work queue of keys with upstream's semantics.
//!
//! A key is queued once however often it is added; it is not handed out while another worker processes it, and comes again after
//! [`WorkQueue::done`] when it was added meanwhile. Failing keys are added with [`WorkQueue::add_rate_limited`]: 5 ms, doubled with each
//! failure up to 1000 s, until [`WorkQueue::forget`]. There is no background task: delayed keys become due inside [`WorkQueue::get`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::metrics::QueueMetrics;

const BASE_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

struct State<K> {
    ready: VecDeque<K>,
    /// Invariant: a superset of `ready`; what is also in `processing` waits for `done`.
    dirty: BTreeSet<K>,
    processing: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
    /// By time and order of adding, so that what is due at the same moment comes in the order in which it was added.
    delayed: BTreeMap<(Instant, u64), K>,
    /// Invariant: the inverse of `delayed`.
    due: BTreeMap<K, (Instant, u64)>,
    sequence: u64,
    shut_down: bool,
}

impl<K: Ord + Clone> State<K> {
    fn add(&mut self, key: K) -> bool {
        if self.shut_down || !self.dirty.insert(key.clone()) {
            return false;
        }
        if self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn add_after(&mut self, key: K, at: Instant) -> bool {
        if self.shut_down {
            return false;
        }
        if let Some(&known) = self.due.get(&key) {
            if known.0 <= at {
                return false;
            }
            self.delayed.remove(&known);
        }
        self.sequence += 1;
        self.delayed.insert((at, self.sequence), key.clone());
        self.due.insert(key, (at, self.sequence));
        true
    }

    fn move_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn pop(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    /// Set once workers run on the queue.
    metrics: OnceLock<QueueMetrics>,
}

/// A rate-limited, deduplicating queue of keys. Cheap to clone.
pub struct WorkQueue<K>(Arc<Shared<K>>);

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: BTreeSet::new(),
            processing: BTreeSet::new(),
            failures: BTreeMap::new(),
            delayed: BTreeMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            shut_down: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), metrics: OnceLock::new() }))
    }

    /// Reports the queue's metrics under a name from now on.
    pub(crate) fn report_as(&self, name: &str) {
        let metrics = self.0.metrics.get_or_init(|| QueueMetrics::new(name));
        metrics.depth.set(i64::try_from(self.len()).unwrap_or(i64::MAX));
    }

    /// Reports how long the processing of a key took.
    pub(crate) fn report_work(&self, duration: Duration) {
        if let Some(metrics) = self.0.metrics.get() {
            metrics.work.observe(duration.as_secs_f64());
        }
    }

    fn report_depth(&self, state: &State<K>) {
        if let Some(metrics) = self.0.metrics.get() {
            metrics.depth.set(i64::try_from(state.ready.len()).unwrap_or(i64::MAX));
        }
    }

    /// Adds a key now.
    pub fn add(&self, key: K) {
        let mut state = self.0.state.lock();
        if let Some(metrics) = self.0.metrics.get() {
            metrics.adds.inc();
        }
        if state.add(key) {
            self.report_depth(&state);
            self.0.changed.notify_one();
        }
    }

    /// Adds a key later. Of several times the earliest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        if self.0.state.lock().add_after(key, Instant::now() + delay) {
            // All waiters compute their deadline anew: which of them is first does not matter.
            self.0.changed.notify_waiters();
            self.0.changed.notify_one();
        }
    }

    /// Adds a failed key later: each call doubles the delay until [`Self::forget`].
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures - 1
        };
        if let Some(metrics) = self.0.metrics.get() {
            metrics.retries.inc();
        }
        let delay = BASE_DELAY.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(MAX_DELAY);
        self.add_after(key, delay);
    }

    /// Ends the failures of a key.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// How often a key failed since it was last forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.0.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// The next key; the caller owns it until [`Self::done`]. None after [`Self::shut_down`], when nothing is ready any more.
    pub async fn get(&self) -> Option<K> {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let deadline = {
                let mut state = self.0.state.lock();
                state.move_due(Instant::now());
                if let Some(key) = state.pop() {
                    self.report_depth(&state);
                    if !state.ready.is_empty() {
                        self.0.changed.notify_one();
                    }
                    return Some(key);
                }
                if state.shut_down {
                    return None;
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match deadline {
                Some(at) => tokio::select! { biased; () = changed => {}, () = tokio::time::sleep_until(at) => {} },
                None => changed.await,
            }
        }
    }

    /// Ends the processing of a key; it is ready again when it was added meanwhile.
    pub fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.processing.remove(key);
        if state.dirty.contains(key) && !state.shut_down {
            state.ready.push_back(key.clone());
            self.0.changed.notify_one();
        }
    }

    /// Number of keys that are ready.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses new keys and wakes the workers; what is ready is still handed out, what is delayed is dropped.
    pub fn shut_down(&self) {
        let mut state = self.0.state.lock();
        state.shut_down = true;
        state.delayed.clear();
        state.due.clear();
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_queued_once_and_not_handed_out_twice() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.get().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.get().await, Some("b"));
        assert!(queue.is_empty(), "a is being processed");
        queue.done(&"a");
        assert_eq!(queue.get().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn delays_keep_order_and_the_earliest_wins() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(2));
        queue.add_after("x", Duration::from_secs(9));
        queue.add_after("x", Duration::from_secs(1));
        queue.add_after("y", Duration::from_secs(1));
        let mut got = Vec::new();
        for _ in 0..3 {
            got.push((queue.get().await.unwrap(), start.elapsed().as_secs()));
        }
        assert_eq!(got, [("x", 1), ("y", 1), ("late", 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_until_forgotten() {
        let queue = WorkQueue::new();
        let mut delays = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            queue.add_rate_limited(1);
            queue.get().await;
            queue.done(&1);
            delays.push(start.elapsed().as_millis());
        }
        assert_eq!(delays[..4], [5, 10, 20, 40]);
        assert_eq!(delays[19], 1_000_000);
        assert_eq!(queue.failures(&1), 20);
        queue.forget(&1);
        assert_eq!(queue.failures(&1), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_sees_a_shorter_delay_and_the_end() {
        let queue = WorkQueue::new();
        queue.add_after(1, Duration::from_secs(100));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.get().await, queue.get().await) }
        });
        tokio::task::yield_now().await;
        queue.add_after(2, Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        queue.shut_down();
        assert_eq!(waiting.await.unwrap(), (Some(2), None));
    }
}
