//! The key space and its history as plain data: what is true now, what was true at any revision that is not compacted,
//! and what a write would change. No lock, no clock, no file.
//!
//! One map holds every retained write by revision ("the log"), another the revision at which each live key stands. The
//! state at an older revision is the live state with the later writes undone, which costs what happened since, not what
//! there is.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use crate::{Event, KeyValue, ListOptions, ListPage, Result, Revision, StoreError};

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Arc<str>,
    /// `None` is a removal.
    pub value: Option<Bytes>,
    /// The write that created the key in this life.
    pub create: u64,
    /// The write that this one replaced; 0 if the key did not exist.
    pub prev: u64,
    /// When the key is to disappear, in milliseconds of Unix time.
    pub expires: Option<u64>,
}

/// A write that was asked for. Revisions are the ones that the key must stand at (0: absent).
#[derive(Clone, Debug)]
pub(super) enum Write {
    Put { key: String, value: Bytes, expected: u64, expires: Option<u64> },
    Delete { key: String, expected: u64 },
}

/// Writes that were accepted but are not yet true, in revision order from `first`.
#[derive(Default)]
pub(super) struct Batch {
    first: u64,
    records: Vec<Arc<Record>>,
    heads: HashMap<Arc<str>, u64>,
}

/// The state.
#[derive(Default)]
pub(super) struct Mvcc {
    current: u64,
    /// History at and before this revision is gone. Every record above it is in `log`; below it only those that are the
    /// newest of their key.
    compacted: u64,
    live: BTreeMap<Arc<str>, u64>,
    log: BTreeMap<u64, Arc<Record>>,
    /// `(when, revision)` of live records that expire.
    expiries: BTreeSet<(u64, u64)>,
    bytes: u64,
}

/// All of a state at one moment.
pub(super) struct Contents {
    pub current: u64,
    pub compacted: u64,
    /// How many keys live.
    pub objects: u64,
    pub records: Vec<(u64, Arc<Record>)>,
}

/// What a compaction at `revision` forgets.
pub(super) struct Forgotten {
    pub revision: u64,
    /// The revisions of the records.
    pub gone: Vec<u64>,
}

// === impl Batch ===

impl Batch {
    pub(super) fn new(state: &Mvcc) -> Self {
        Self { first: state.current + 1, ..Self::default() }
    }

    /// What the file has after the state, as if it had been accepted just now.
    pub(super) fn of_records(state: &Mvcc, records: Vec<Record>) -> Self {
        let records = records.into_iter().map(Arc::new).collect();
        Self { first: state.current + 1, records, heads: HashMap::new() }
    }

    /// The accepted writes with their revisions.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, &Arc<Record>)> {
        (self.first..).zip(&self.records)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn get(&self, revision: u64) -> &Arc<Record> {
        &self.records[(revision - self.first) as usize]
    }

    /// Checks `write` against the state after this batch and takes it in.
    pub(super) fn accept(&mut self, state: &Mvcc, write: Write) -> Result<u64> {
        let (key, expected, value, expires) = match write {
            Write::Put { key, value, expected, expires } => (key, expected, Some(value), expires),
            Write::Delete { key, expected } => (key, expected, None, None),
        };
        let head = match self.heads.get(key.as_str()) {
            Some(&revision) => Some((revision, self.get(revision))),
            None => state.head(&key),
        }
        .filter(|(_, record)| record.value.is_some());
        let at = head.map_or(0, |(revision, _)| revision);
        if at != expected || (value.is_none() && head.is_none()) {
            let current = head.and_then(|(revision, record)| record.key_value(revision));
            return Err(StoreError::Conflict { key, current });
        }
        let revision = self.first + self.records.len() as u64;
        let (key, create) = match head {
            Some((_, record)) => (record.key.clone(), record.create),
            None => (Arc::from(key), revision),
        };
        self.heads.insert(key.clone(), revision);
        self.records.push(Arc::new(Record { key, value, create, prev: at, expires }));
        Ok(revision)
    }
}

// === impl Record ===

impl Record {
    pub(super) fn key_value(&self, revision: u64) -> Option<KeyValue> {
        Some(KeyValue {
            key: self.key.to_string(),
            value: self.value.clone()?,
            mod_revision: Revision(revision),
            create_revision: Revision(self.create),
            stale: false,
        })
    }

    fn bytes(&self) -> u64 {
        (self.key.len() + self.value.as_ref().map_or(0, Bytes::len)) as u64
    }
}

// === impl Mvcc ===

impl Mvcc {
    /// The state from what was stored. `records` come in revision order.
    pub(super) fn restore(current: u64, compacted: u64, records: impl Iterator<Item = (u64, Record)>) -> Self {
        let mut state = Self { compacted, ..Self::default() };
        for (revision, record) in records {
            state.insert(revision, Arc::new(record));
        }
        state.current = current;
        state
    }

    pub(super) fn current(&self) -> u64 {
        self.current
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Everything that is held, values shared.
    pub(super) fn contents(&self) -> Contents {
        Contents {
            current: self.current,
            compacted: self.compacted,
            objects: self.live.len() as u64,
            records: self.log.iter().map(|(revision, record)| (*revision, record.clone())).collect(),
        }
    }

    /// Bytes of all keys and values that are held.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn head(&self, key: &str) -> Option<(u64, &Arc<Record>)> {
        let revision = *self.live.get(key)?;
        Some((revision, self.log.get(&revision)?))
    }

    fn insert(&mut self, revision: u64, record: Arc<Record>) {
        if let Some(old) = self.log.get(&record.prev)
            && let Some(when) = old.expires
        {
            self.expiries.remove(&(when, record.prev));
        }
        if record.value.is_some() {
            self.live.insert(record.key.clone(), revision);
            if let Some(when) = record.expires {
                self.expiries.insert((when, revision));
            }
        } else {
            self.live.remove(&record.key);
        }
        self.bytes += record.bytes();
        self.log.insert(revision, record);
        self.current = revision;
    }

    /// Makes a batch true.
    pub(super) fn apply(&mut self, batch: &Batch) {
        for (revision, record) in batch.records() {
            self.insert(revision, record.clone());
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<KeyValue> {
        let (revision, record) = self.head(key)?;
        record.key_value(revision)
    }

    /// Checks that the state at (or the history after) `requested` is known.
    pub(super) fn check(&self, requested: Revision) -> Result<()> {
        if requested.0 > self.current {
            return Err(StoreError::Future { requested, newest: Revision(self.current) });
        }
        if requested.0 < self.compacted {
            return Err(StoreError::Compacted { requested, oldest: Revision(self.compacted) });
        }
        Ok(())
    }

    pub(super) fn list(&self, prefix: &str, options: &ListOptions) -> Result<ListPage> {
        let at = options.at.unwrap_or(Revision(self.current));
        self.check(at)?;
        let undo = self.undo(prefix, at.0);
        let start = options.after.as_deref().filter(|after| *after >= prefix);
        let bounds: (Bound<&str>, Bound<&str>) = match start {
            Some(after) => (Bound::Excluded(after), Bound::Unbounded),
            None => (Bound::Included(prefix), Bound::Unbounded),
        };
        let live = self
            .live
            .range::<str, _>(bounds)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| !undo.contains_key(*key))
            .map(|(key, revision)| (key, *revision));
        let undone = undo
            .range::<str, _>(bounds)
            .filter(|(_, revision)| **revision != 0)
            .map(|(key, revision)| (key, *revision));
        let mut page = ListPage { items: Vec::new(), revision: at, remaining: 0 };
        for (key, revision) in merge(live, undone) {
            if options.limit != 0 && page.items.len() == options.limit {
                page.remaining += 1;
                continue;
            }
            let item = self.log.get(&revision).and_then(|r| r.key_value(revision));
            page.items
                .push(item.ok_or_else(|| StoreError::Corrupt(format!("{key} at revision {revision} is missing")))?);
        }
        Ok(page)
    }

    /// For each key of `prefix` that was written after `at`: the revision at which it stood at `at` (0: absent).
    fn undo(&self, prefix: &str, at: u64) -> BTreeMap<Arc<str>, u64> {
        let mut undo = BTreeMap::new();
        for record in self.log.range(at + 1..).map(|(_, record)| record) {
            if record.key.starts_with(prefix) {
                undo.entry(record.key.clone()).or_insert(record.prev);
            }
        }
        undo
    }

    /// At most `max` events under `prefix` from revision `from` on, and the revision to go on from (`None`: nothing more).
    pub(super) fn events(&self, prefix: &str, from: u64, max: usize) -> (Vec<Event>, Option<u64>) {
        let mut events = Vec::new();
        for (&revision, record) in self.log.range(from..) {
            if !record.key.starts_with(prefix) {
                continue;
            }
            if events.len() == max {
                return (events, Some(revision));
            }
            events.extend(self.event(revision, record));
        }
        (events, None)
    }

    fn event(&self, revision: u64, record: &Record) -> Option<Event> {
        let prev = self.log.get(&record.prev).and_then(|old| old.key_value(record.prev));
        match record.key_value(revision) {
            Some(kv) => Some(Event::Put { kv, prev }),
            None => prev.map(|prev| Event::Delete { prev, revision: Revision(revision) }),
        }
    }

    /// The next step of a compaction at `target`: a complete one at a revision as high as can be while it looks at no more than
    /// `max` records. `None` when history before `target` is gone.
    pub(super) fn compactable(&self, target: u64, max: usize) -> Option<Forgotten> {
        if target <= self.compacted {
            return None;
        }
        let mut step = Forgotten { revision: target, gone: Vec::new() };
        let mut next = self.log.range(self.compacted + 1..=target);
        for (&at, record) in next.by_ref().take(max) {
            if record.prev != 0 {
                step.gone.push(record.prev);
            }
            if record.value.is_none() {
                step.gone.push(at);
            }
        }
        if let Some((following, _)) = next.next() {
            step.revision = following - 1;
        }
        Some(step)
    }

    pub(super) fn compact(&mut self, step: &Forgotten) {
        for revision in &step.gone {
            if let Some(record) = self.log.remove(revision) {
                self.bytes -= record.bytes();
            }
        }
        self.compacted = step.revision;
    }

    /// When the next key expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(when, _)| *when)
    }

    /// The removals that are due at `now`.
    pub(super) fn expired(&self, now: u64) -> Vec<Write> {
        self.expiries
            .iter()
            .take_while(|(when, _)| *when <= now)
            .filter_map(|(_, revision)| {
                Some(Write::Delete { key: self.log.get(revision)?.key.to_string(), expected: *revision })
            })
            .collect()
    }
}

/// Two key-ordered iterators without common keys as one.
fn merge<'a>(
    left: impl Iterator<Item = (&'a Arc<str>, u64)>,
    right: impl Iterator<Item = (&'a Arc<str>, u64)>,
) -> impl Iterator<Item = (&'a Arc<str>, u64)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(l), Some(r)) if r.0 < l.0 => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}
