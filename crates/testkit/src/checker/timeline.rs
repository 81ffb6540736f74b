//! What happened to each key, put together from everybody's observations.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{Call, Moment, Observations, Operation, Outcome, Rule, Seen, Violation, violation};

/// One change: what the key became (`None`: it was removed), and who told of it first.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) value: Option<String>,
    pub(super) source: String,
    /// Whether its writer was told that it is there.
    pub(super) acknowledged: bool,
    /// It happened at this revision at the latest; nobody saw it.
    inferred: bool,
}

/// The revisions at which an operation can have taken effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// What was known to be true before it began.
    pub(super) floor: u64,
    /// Before the first write that began after it ended; `u64::MAX` if none did.
    pub(super) ceiling: u64,
}

#[derive(Default)]
pub(super) struct Timeline {
    keys: BTreeMap<String, BTreeMap<u64, Change>>,
    by_revision: BTreeMap<u64, String>,
    /// Where some watch told of everything: `(after, up to)`, joined and in order.
    covered: Vec<(u64, u64)>,
    /// The revisions of lists, each of which tells of all keys.
    listed: BTreeSet<u64>,
    /// `(ended, revision that was true then)`, both rising.
    floors: Vec<(Moment, u64)>,
    /// `(began, revision)` of writes; from the back, the smallest revision so far.
    ceilings: Vec<(Moment, u64)>,
    /// The revision of each acknowledged removal that was found, by the operation's index.
    pub(super) removals: BTreeMap<usize, u64>,
    newest: u64,
}

/// Whether it is not known by the answers at which revision some write of the key happened that began before `moment`.
pub(super) fn is_open(observations: &Observations, key: &str, moment: Moment) -> bool {
    observations.operations.iter().any(|operation| {
        let open = match operation.outcome {
            Outcome::Unknown => !matches!(operation.call, Call::Get | Call::List(_)),
            Outcome::Deleted => true,
            _ => false,
        };
        open && operation.key == key && operation.began < moment
    })
}

impl Timeline {
    pub(super) fn of(observations: &Observations, violations: &mut Vec<Violation>) -> Self {
        let mut timeline = Self::default();
        for operation in &observations.operations {
            timeline.take_answer(operation, violations);
        }
        for watch in &observations.watches {
            let source = format!("watch of {} after {}", watch.client, watch.after);
            for seen in &watch.seen {
                timeline.take_event(seen, &source, violations);
            }
        }
        timeline.cover(observations);
        timeline.infer_removals(observations);
        timeline.bound(observations);
        timeline.find_removals(observations, violations);
        timeline.bound(observations);
        timeline
    }

    fn take_answer(&mut self, operation: &Operation, violations: &mut Vec<Violation>) {
        let Operation { client, key, call, outcome, .. } = operation;
        match (call, outcome) {
            (Call::Put { value, .. }, Outcome::Written { revision }) => {
                self.insert(key, *revision, Some(value), &format!("answer to {client}"), true, violations);
            }
            (_, Outcome::Found { revision, value }) => {
                self.insert(key, *revision, Some(value), &format!("read of {client}"), false, violations);
            }
            (_, Outcome::Listed { revision, items }) => {
                let source = format!("list of {client} at {revision}");
                self.newest = self.newest.max(*revision);
                self.listed.insert(*revision);
                for (key, (revision, value)) in items {
                    self.insert(key, *revision, Some(value), &source, false, violations);
                }
            }
            _ => {}
        }
    }

    fn take_event(&mut self, seen: &Seen, source: &str, violations: &mut Vec<Violation>) {
        match seen {
            Seen::Added { key, revision, value } | Seen::Modified { key, revision, value } => {
                self.insert(key, *revision, Some(value), source, false, violations);
            }
            Seen::Deleted { key, revision, .. } => self.insert(key, *revision, None, source, false, violations),
            Seen::Bookmark(revision) => self.newest = self.newest.max(*revision),
        }
    }

    fn insert(
        &mut self,
        key: &str,
        revision: u64,
        value: Option<&String>,
        source: &str,
        acknowledged: bool,
        violations: &mut Vec<Violation>,
    ) {
        self.newest = self.newest.max(revision);
        let other = self.by_revision.entry(revision).or_insert_with(|| key.to_owned());
        if other != key {
            let what = format!("revision {revision} is a change of {other} and, by {source}, of {key}");
            violations.push(violation(Rule::OneTruth, what));
            return;
        }
        let change = Change { value: value.cloned(), source: source.to_owned(), acknowledged, inferred: false };
        let known = self.keys.entry(key.to_owned()).or_default().entry(revision).or_insert_with(|| change.clone());
        if known.value != change.value {
            let what =
                format!("{key} at {revision} is {:?} by {}, {:?} by {source}", known.value, known.source, change.value);
            violations.push(violation(Rule::OneTruth, what));
        }
        known.acknowledged |= acknowledged;
    }

    fn cover(&mut self, observations: &Observations) {
        let mut spans: Vec<_> = observations.watches.iter().map(|watch| (watch.after, watch.reached())).collect();
        spans.sort_unstable();
        for (after, to) in spans {
            match self.covered.last_mut() {
                Some(last) if after <= last.1 => last.1 = last.1.max(to),
                _ => self.covered.push((after, to)),
            }
        }
    }

    /// Where a list lacks a key, watches leave a gap, and somebody did not hear of a removal or nobody saw it happen, then it
    /// happened: at the list's revision at the latest.
    fn infer_removals(&mut self, observations: &Observations) {
        let lists = observations.operations.iter().filter_map(|operation| match &operation.outcome {
            Outcome::Listed { revision, items } => Some((*revision, items, operation)),
            _ => None,
        });
        let mut lists: Vec<_> = lists.collect();
        lists.sort_by_key(|(revision, ..)| *revision);
        for (revision, items, operation) in lists {
            let source = format!("list of {} at {revision}", operation.client);
            let lacking: Vec<String> = self.keys.keys().filter(|key| !items.contains_key(*key)).cloned().collect();
            for key in lacking {
                let Some((since, Change { value: Some(_), .. })) = self.at(&key, revision) else { continue };
                let gap = Window { floor: since, ceiling: revision };
                if since < revision && !self.is_covered(gap) && is_open(observations, &key, operation.ended) {
                    let change = Change { value: None, source: source.clone(), acknowledged: false, inferred: true };
                    self.keys.entry(key).or_default().insert(revision, change);
                }
            }
        }
    }

    /// Learns which revisions were true when, and which came after what.
    fn bound(&mut self, observations: &Observations) {
        let (mut floors, mut ceilings) = (Vec::new(), Vec::new());
        for (index, operation) in observations.operations.iter().enumerate() {
            let written = self.revision_of(index, operation);
            let read = match &operation.outcome {
                Outcome::Found { revision, .. } | Outcome::Listed { revision, .. } => Some(*revision),
                _ => None,
            };
            let answered = !matches!(operation.outcome, Outcome::Unknown);
            floors.extend(written.filter(|_| answered).or(read).map(|revision| (operation.ended, revision)));
            ceilings.extend(written.map(|revision| (operation.began, revision)));
        }
        floors.sort_unstable();
        let mut highest = 0;
        for (_, revision) in &mut floors {
            highest = highest.max(*revision);
            *revision = highest;
        }
        ceilings.sort_unstable();
        let mut lowest = u64::MAX;
        for (_, revision) in ceilings.iter_mut().rev() {
            lowest = lowest.min(*revision);
            *revision = lowest;
        }
        (self.floors, self.ceilings) = (floors, ceilings);
    }

    /// At which revision a write happened, if it is known.
    fn revision_of(&self, index: usize, operation: &Operation) -> Option<u64> {
        match (&operation.call, &operation.outcome) {
            (_, Outcome::Written { revision }) => Some(*revision),
            (Call::Put { value, .. }, Outcome::Unknown) => self.written(&operation.key, value).next(),
            _ => self.removals.get(&index).copied(),
        }
    }

    /// Answers to removals don't tell revisions: finds one for each, those that had to be first first.
    fn find_removals(&mut self, observations: &Observations, violations: &mut Vec<Violation>) {
        let mut removals: Vec<_> = observations
            .operations
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.outcome == Outcome::Deleted)
            .map(|(index, operation)| (self.window(operation), index, operation))
            .collect();
        removals.sort_by_key(|(window, index, _)| (window.ceiling, *index));
        let mut claimed = BTreeSet::new();
        for (window, index, operation) in removals {
            let Call::Delete { expected } = operation.call else { continue };
            let fits = |revision: u64| {
                let before = self.before(&operation.key, revision).map(|(at, _)| at);
                !claimed.contains(&(&operation.key, revision)) && (expected.is_none() || before == expected)
            };
            let found = self
                .changes(&operation.key, window)
                .find(|(revision, change)| change.value.is_none() && fits(*revision))
                .map(|(revision, change)| (revision, change.inferred));
            match found {
                Some((revision, inferred)) => {
                    claimed.insert((&operation.key, revision));
                    if !inferred {
                        self.removals.insert(index, revision);
                    }
                }
                None if self.is_covered(window) => {
                    let what = format!(
                        "the removal of {} was acknowledged to {} and is not among the changes of {}",
                        operation.key,
                        operation.client,
                        self.show(window)
                    );
                    violations.push(violation(Rule::WritesSurvive, what));
                }
                None => {}
            }
        }
    }

    pub(super) fn window(&self, operation: &Operation) -> Window {
        let before = self.floors.partition_point(|(ended, _)| *ended < operation.began);
        let after = self.ceilings.partition_point(|(began, _)| *began <= operation.ended);
        Window {
            floor: before.checked_sub(1).map_or(0, |last| self.floors[last].1),
            ceiling: self.ceilings.get(after).map_or(u64::MAX, |(_, revision)| revision.saturating_sub(1)),
        }
    }

    /// The changes of a key above the window's floor, up to its ceiling.
    pub(super) fn changes(&self, key: &str, window: Window) -> impl Iterator<Item = (u64, &Change)> {
        let range = (Bound::Excluded(window.floor), Bound::Included(window.ceiling.max(window.floor + 1)));
        self.keys.get(key).into_iter().flat_map(move |changes| changes.range(range)).map(|(at, change)| (*at, change))
    }

    /// The last change of a key at or before `revision`.
    pub(super) fn at(&self, key: &str, revision: u64) -> Option<(u64, &Change)> {
        self.keys.get(key)?.range(..=revision).next_back().map(|(at, change)| (*at, change))
    }

    /// The last change of a key before `revision`.
    pub(super) fn before(&self, key: &str, revision: u64) -> Option<(u64, &Change)> {
        self.at(key, revision.checked_sub(1)?)
    }

    /// Whether it is known what the key was just before `revision`.
    pub(super) fn is_known_before(&self, key: &str, revision: u64) -> bool {
        let changed = self.before(key, revision).map_or(0, |(at, _)| at);
        let listed = self.listed.range(..revision).next_back().copied().unwrap_or_default();
        self.is_covered(Window { floor: changed.max(listed), ceiling: revision })
    }

    /// The revisions at which a key got `value`.
    pub(super) fn written(&self, key: &str, value: &str) -> impl Iterator<Item = u64> {
        let changes = self.keys.get(key).into_iter().flatten();
        changes.filter(move |(_, change)| change.value.as_deref() == Some(value)).map(|(revision, _)| *revision)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.keys.keys()
    }

    /// All changes after one revision up to another.
    pub(super) fn between(&self, after: u64, to: u64) -> impl Iterator<Item = (u64, &String)> {
        let range = (Bound::Excluded(after), Bound::Included(to.max(after + 1)));
        self.by_revision.range(range).filter(move |(revision, _)| **revision <= to).map(|(at, key)| (*at, key))
    }

    /// Whether every change of the window is known.
    pub(super) fn is_covered(&self, window: Window) -> bool {
        let to = window.ceiling.min(self.newest);
        to <= window.floor || self.covered.iter().any(|(after, reached)| *after <= window.floor && to <= *reached)
    }

    pub(super) fn show(&self, window: Window) -> String {
        format!("({}, {}]", window.floor, window.ceiling.min(self.newest))
    }
}
