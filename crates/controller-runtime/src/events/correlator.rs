//! Which events are written, which only raise a count, and which are dropped.
//!
//! Upstream's rules (client-go `tools/record/events_cache.go`): the same event again raises the count of the first; more than ten
//! different messages of one kind within ten minutes become "(combined from similar events): ..."; per source and object a bucket
//! of 25 events refills by one each five minutes. State is bounded: the least recently used entries go first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::ObjectReference;
use jiff::Timestamp;

use super::{EventSource, EventType, Report, Written};

const CACHE: usize = 4096;
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW_SECONDS: i64 = 600;
const SPAM_BURST: f64 = 25.0;
const SPAM_PER_SECOND: f64 = 1.0 / 300.0;

/// The object and source of an event, in a form that orders.
type Subject = (Arc<EventSource>, String);
/// Subject, type, reason.
type Similar = (Subject, EventType, String);
/// What is the same event: similar, with its message (or that of the aggregate).
pub(super) type Same = (Similar, Option<String>);

/// What to do with an event.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Too many about this object.
    Drop,
    /// Create it, or raise the count of the one known.
    Write {
        /// For [`Correlator::wrote`].
        key: Same,
        /// The message, which aggregation may have changed.
        message: String,
        /// The event to raise.
        known: Option<Written>,
    },
}

#[derive(Default)]
pub(super) struct Correlator {
    spam: Lru<Subject, (f64, Timestamp)>,
    similar: Lru<Similar, (BTreeSet<String>, Timestamp)>,
    written: Lru<Same, Written>,
}

impl Correlator {
    pub(super) fn observe(&mut self, report: &Report, now: Timestamp) -> Verdict {
        let subject = (report.source.clone(), subject(&report.regarding));
        let similar = (subject.clone(), report.type_, report.reason.clone());
        let combined = self.is_combined(&similar, &report.message, now);
        if !self.has_room(subject, now) {
            return Verdict::Drop;
        }
        let key = (similar, (!combined).then(|| report.message.clone()));
        let message = if combined {
            format!("(combined from similar events): {}", report.message)
        } else {
            report.message.clone()
        };
        let known = self.written.get(&key).cloned();
        Verdict::Write { key, message, known }
    }

    /// What became of the event.
    pub(super) fn known(&mut self, key: &Same) -> Option<Written> {
        self.written.get(key).cloned()
    }

    /// Remembers what an event became.
    pub(super) fn wrote(&mut self, key: Same, written: Option<Written>) {
        if let Some(written) = written {
            self.written.put(key, written);
        }
    }

    fn is_combined(&mut self, similar: &Similar, message: &str, now: Timestamp) -> bool {
        let (mut messages, last) = self.similar.get(similar).cloned().unwrap_or_else(|| (BTreeSet::new(), now));
        if now.as_second() - last.as_second() > SIMILAR_WINDOW_SECONDS {
            messages.clear();
        }
        messages.insert(message.to_owned());
        let combined = messages.len() >= SIMILAR_MAX;
        if combined {
            messages.pop_first();
        }
        self.similar.put(similar.clone(), (messages, now));
        combined
    }

    fn has_room(&mut self, subject: Subject, now: Timestamp) -> bool {
        let (tokens, last) = self.spam.get(&subject).copied().unwrap_or((SPAM_BURST, now));
        let elapsed = now.duration_since(last).as_secs_f64().max(0.0);
        let tokens = (tokens + elapsed * SPAM_PER_SECOND).min(SPAM_BURST);
        let allowed = tokens >= 1.0;
        self.spam.put(subject, (if allowed { tokens - 1.0 } else { tokens }, now));
        allowed
    }
}

fn subject(object: &ObjectReference) -> String {
    let parts = [&object.kind, &object.namespace, &object.name, &object.uid, &object.api_version, &object.field_path];
    parts.map(|part| part.as_deref().unwrap_or_default()).join("\0")
}

/// A map that forgets the least recently used entry when full.
struct Lru<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    /// Invariant: the inverse of `entries`' first field.
    used: BTreeMap<u64, K>,
    clock: u64,
}

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), used: BTreeMap::new(), clock: 0 }
    }
}

impl<K: Ord + Clone, V> Lru<K, V> {
    fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        self.used.remove(used);
        *used = self.clock;
        self.used.insert(self.clock, key.clone());
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        self.clock += 1;
        if let Some((used, _)) = self.entries.insert(key.clone(), (self.clock, value)) {
            self.used.remove(&used);
        }
        self.used.insert(self.clock, key);
        if self.entries.len() > CACHE
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, message: &str) -> Report {
        Report {
            source: Arc::default(),
            regarding: ObjectReference { name: Some(name.into()), ..Default::default() },
            related: None,
            type_: EventType::Normal,
            reason: "R".into(),
            action: None,
            message: message.into(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn write(correlator: &mut Correlator, report: &Report, now: Timestamp) -> Option<(String, i32)> {
        let Verdict::Write { key, message, known } = correlator.observe(report, now) else { return None };
        let count = known.map_or(1, |known| known.count + 1);
        correlator.wrote(key, Some(Written { namespace: "ns".into(), name: "e".into(), count }));
        Some((message, count))
    }

    #[test]
    fn repeats_raise_the_count_and_floods_are_cut() {
        let mut correlator = Correlator::default();
        for n in 1..=25 {
            assert_eq!(write(&mut correlator, &report("a", "m"), at(0)), Some(("m".to_owned(), n)));
        }
        assert_eq!(write(&mut correlator, &report("a", "m"), at(1)), None);
        assert_eq!(write(&mut correlator, &report("b", "m"), at(1)), Some(("m".to_owned(), 1)));
        assert_eq!(write(&mut correlator, &report("a", "m"), at(301)), Some(("m".to_owned(), 26)));
    }

    #[test]
    fn similar_events_are_combined_until_a_quiet_time() {
        let mut correlator = Correlator::default();
        for n in 0..9 {
            assert_eq!(write(&mut correlator, &report("a", &format!("m{n}")), at(n)), Some((format!("m{n}"), 1)));
        }
        for (n, count) in [(9, 1), (10, 2)] {
            let combined = format!("(combined from similar events): m{n}");
            assert_eq!(write(&mut correlator, &report("a", &format!("m{n}")), at(n)), Some((combined, count)));
        }
        assert_eq!(write(&mut correlator, &report("a", "later"), at(1000)), Some(("later".to_owned(), 1)));
    }

    #[test]
    fn the_oldest_entry_is_forgotten() {
        let mut lru = Lru::default();
        for n in 0..CACHE {
            lru.put(n, n);
        }
        assert_eq!(lru.get(&0), Some(&0));
        lru.put(CACHE, 0);
        assert_eq!(lru.get(&0).copied(), Some(0));
        assert_eq!(lru.get(&1), None);
    }
}
