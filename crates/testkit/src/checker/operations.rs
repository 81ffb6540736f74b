//! Where each operation fits into the timeline.

use std::collections::BTreeMap;

use super::{
    At, Call, Expected, Observations, Operation, Outcome, Rule, Violation,
    timeline::{Timeline, Window, is_open},
    violation,
};

pub(super) fn check(observations: &Observations, timeline: &Timeline, violations: &mut Vec<Violation>) {
    let mut found = Vec::new();
    for (index, operation) in observations.operations.iter().enumerate() {
        let judge = Judge { timeline, operation, window: timeline.window(operation), observations };
        found.extend(judge.once());
        match &operation.outcome {
            Outcome::Written { revision } => found.extend(judge.write(*revision)),
            Outcome::Deleted => found.extend(timeline.removals.get(&index).and_then(|at| judge.write(*at))),
            Outcome::Found { revision, .. } => found.extend(judge.found(*revision)),
            Outcome::Listed { revision, items } => judge.listed(*revision, items, &mut found),
            Outcome::Exists => found.extend(judge.always("absent", |at| at.is_none())),
            Outcome::Conflict => found.extend(judge.conflict()),
            Outcome::Absent => found.extend(judge.always("there", |at| at.is_some())),
            Outcome::Unknown | Outcome::Refused => {}
        }
        violations.extend(found.drain(..).map(|(rule, what)| {
            let Operation { client, key, call, .. } = operation;
            violation(rule, format!("{client}: {call:?} of {key:?}: {what}"))
        }));
    }
}

type Finding = (Rule, String);

struct Judge<'a> {
    timeline: &'a Timeline,
    operation: &'a Operation,
    window: Window,
    observations: &'a Observations,
}

impl Judge<'_> {
    /// Whether changes that nobody told of can explain what is strange about the key within a window: the watches leave
    /// a gap, and somebody did not hear what became of his write.
    fn excused(&self, key: &str, window: Window) -> bool {
        let known = self.timeline.is_known_before(key, window.floor + 1) && self.timeline.is_covered(window);
        !known && self.is_open(key)
    }

    fn is_open(&self, key: &str) -> bool {
        is_open(self.observations, key, self.operation.ended)
    }

    /// A value is written once at most; not at all where that was refused.
    fn once(&self) -> Option<Finding> {
        let Call::Put { value, .. } = &self.operation.call else { return None };
        let written: Vec<u64> = self.timeline.written(&self.operation.key, value).collect();
        match &self.operation.outcome {
            Outcome::Exists | Outcome::Conflict | Outcome::Absent | Outcome::Refused if !written.is_empty() => {
                Some((Rule::RefusalsHold, format!("was refused and happened at {written:?}")))
            }
            _ if written.len() > 1 => Some((Rule::NoWriteDoubled, format!("happened at {written:?}"))),
            _ => None,
        }
    }

    fn write(&self, revision: u64) -> Option<Finding> {
        let key = &self.operation.key;
        if revision <= self.window.floor {
            let what = format!("happened at {revision}, but {} was true before it began", self.window.floor);
            return Some((Rule::RevisionsRise, what));
        }
        let before = self.timeline.before(key, revision);
        let stood = before.filter(|(_, change)| change.value.is_some()).map(|(at, _)| at);
        let holds = match &self.operation.call {
            Call::Put { expected: Expected::Absent, .. } => stood.is_none(),
            Call::Put { expected: Expected::At(at), .. } | Call::Delete { expected: Some(at) } => stood == Some(*at),
            Call::Put { expected: Expected::Any, .. } | Call::Delete { expected: None } => stood.is_some(),
            Call::Get | Call::List(_) => true,
        };
        if holds || (!self.timeline.is_known_before(key, revision) && self.is_open(key)) {
            return None;
        }
        Some((Rule::SwapsHold, format!("happened at {revision}, where the key stood at {stood:?}")))
    }

    fn found(&self, revision: u64) -> Option<Finding> {
        if revision > self.window.ceiling {
            return Some((Rule::ReadsAreFresh, format!("found {revision}, which began after the read had ended")));
        }
        let (at, newer) = self.timeline.at(&self.operation.key, self.window.floor)?;
        let rule = if newer.acknowledged { Rule::WritesSurvive } else { Rule::ReadsAreFresh };
        let what = || format!("found {revision}, but {at} (by {}) was true before the read began", newer.source);
        (at > revision).then(|| (rule, what()))
    }

    /// An answer that is false if the key was `absent` (or there) all the time.
    fn always(&self, what: &str, holds: impl Fn(Option<u64>) -> bool) -> Option<Finding> {
        let key = &self.operation.key;
        let stands = |change: Option<(u64, &super::timeline::Change)>| {
            change.filter(|(_, change)| change.value.is_some()).map(|(at, _)| at)
        };
        let first = self.timeline.at(key, self.window.floor);
        let rule = match first {
            Some((_, change)) if change.acknowledged && matches!(self.operation.call, Call::Get) => Rule::WritesSurvive,
            _ if matches!(self.operation.call, Call::Get) => Rule::ReadsAreFresh,
            _ => Rule::RefusalsHold,
        };
        let later = self.timeline.changes(key, self.window).map(Some);
        let always = std::iter::once(first).chain(later).all(|change| holds(stands(change)));
        if !always || self.excused(key, self.window) {
            return None;
        }
        let outcome = &self.operation.outcome;
        Some((rule, format!("answered {outcome:?}, but it was {what} all over {}", self.timeline.show(self.window))))
    }

    fn conflict(&self) -> Option<Finding> {
        let (Call::Put { expected: Expected::At(expected), .. } | Call::Delete { expected: Some(expected) }) =
            self.operation.call
        else {
            // Without a precondition the server tries again by itself, for as long as it likes.
            return None;
        };
        self.always(&format!("at {expected}"), |at| at == Some(expected))
    }

    fn listed(&self, revision: u64, items: &BTreeMap<String, (u64, String)>, found: &mut Vec<Finding>) {
        let Window { floor, ceiling } = self.window;
        let wrong = match &self.operation.call {
            Call::List(At::Newest) => revision < floor || revision > ceiling,
            Call::List(At::NotOlderThan(at)) => revision < *at,
            Call::List(At::Exact(at)) => revision != *at,
            _ => false,
        };
        if wrong {
            let what = format!("listed {revision}, possible were {}", self.timeline.show(self.window));
            found.push((Rule::ReadsAreFresh, what));
        }
        for key in self.timeline.keys() {
            found.extend(self.item(key, items.get(key).map(|(at, _)| *at), revision));
        }
    }

    /// Compares one key of a list with the timeline.
    fn item(&self, key: &str, listed: Option<u64>, revision: u64) -> Option<Finding> {
        let last = self.timeline.at(key, revision);
        let stands = last.filter(|(_, change)| change.value.is_some()).map(|(at, _)| at);
        let since = last.map_or(0, |(at, _)| at);
        let gap = Window { floor: since, ceiling: revision };
        let unseen = || !self.timeline.is_covered(gap) && self.is_open(key);
        if stands == listed || (listed.is_none() && unseen()) {
            return None;
        }
        let older = listed.is_none_or(|at| at < since);
        let rule = match last {
            Some((_, change)) if change.acknowledged && older => Rule::WritesSurvive,
            _ => Rule::ListIsTheState,
        };
        let source = last.map_or("", |(_, change)| change.source.as_str());
        Some((rule, format!("the list at {revision} has {key} at {listed:?}, it stood at {stands:?} by {source}")))
    }
}
