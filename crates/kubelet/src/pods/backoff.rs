//! Exponential delays by key, for restarts of containers and for pulls.

use api_types::k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Delays that double from `initial` to `max`, and start over after twice `max` without an event.
#[derive(Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    entries: Mutex<BTreeMap<String, Entry>>,
}

fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

impl Backoff {
    /// Delays between these bounds.
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial: initial.min(max), max, entries: Mutex::default() }
    }

    fn expired(&self, entry: &Entry, at: Timestamp) -> bool {
        since(at, entry.updated) > self.max * 2
    }

    /// What is left of the delay after an event at `event`, and the whole delay; none when there is nothing to wait for.
    pub(crate) fn waiting(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<(Duration, Duration)> {
        let entry = *self.entries.lock().get(key)?;
        if self.expired(&entry, event) {
            return None;
        }
        let left = entry.delay.checked_sub(since(now, event))?;
        (!left.is_zero()).then_some((left, entry.delay))
    }

    /// Whether the delay that began with the last try is not over.
    pub(crate) fn pending(&self, key: &str, now: Timestamp) -> bool {
        self.entries.lock().get(key).is_some_and(|entry| since(now, entry.updated) < entry.delay)
    }

    /// Notes that another try is made; the next delay is twice as long.
    pub(crate) fn next(&self, key: &str, event: Timestamp, now: Timestamp) {
        let mut entries = self.entries.lock();
        let delay = match entries.get(key) {
            Some(entry) if !self.expired(entry, event) => (entry.delay * 2).min(self.max),
            _ => self.initial,
        };
        entries.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets what starts with this.
    pub(crate) fn forget(&self, prefix: &str) {
        self.entries.lock().retain(|key, _| !key.starts_with(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_starts_over() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(40));
        assert_eq!(backoff.waiting("k", at(0), at(0)), None);
        backoff.next("k", at(0), at(0));
        assert_eq!(backoff.waiting("k", at(1), at(4)), Some((Duration::from_secs(7), Duration::from_secs(10))));
        assert_eq!(backoff.waiting("k", at(1), at(11)), None);
        for (want, now) in [(20, 11), (40, 40), (40, 90)] {
            backoff.next("k", at(now), at(now));
            assert_eq!(backoff.waiting("k", at(now), at(now)).unwrap().1, Duration::from_secs(want));
        }
        assert_eq!(backoff.waiting("k", at(90 + 81), at(90 + 82)), None, "quiet for longer than twice the maximum");
        backoff.forget("k");
        assert_eq!(backoff.waiting("k", at(90), at(91)), None);
    }
}
