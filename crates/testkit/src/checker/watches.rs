//! What each watch must have told.

use std::collections::BTreeSet;

use super::{Observations, Rule, Seen, Violation, Watch, timeline::Timeline, violation};

pub(super) fn check(observations: &Observations, timeline: &Timeline, violations: &mut Vec<Violation>) {
    for watch in &observations.watches {
        order(watch, violations);
        completeness(watch, timeline, violations);
        for seen in &watch.seen {
            let told = Rule::EventTellsTheChange;
            violations.extend(tells(seen, timeline).map(|what| violation(told, format!("{}: {what}", watch.client))));
        }
    }
}

impl Seen {
    /// The revision of the change, or that the bookmark tells.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Added { revision, .. } | Self::Modified { revision, .. } | Self::Deleted { revision, .. } => {
                *revision
            }
            Self::Bookmark(revision) => *revision,
        }
    }
}

impl Seen {
    /// The key, where it is not a bookmark.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Added { key, .. } | Self::Modified { key, .. } | Self::Deleted { key, .. } => Some(key),
            Self::Bookmark(_) => None,
        }
    }
}

impl Watch {
    /// Up to where it promises to have told everything.
    pub(super) fn reached(&self) -> u64 {
        self.seen.iter().map(Seen::revision).max().unwrap_or(0).max(self.after)
    }
}

fn order(watch: &Watch, violations: &mut Vec<Violation>) {
    let (mut reached, mut told) = (watch.after, BTreeSet::new());
    for seen in &watch.seen {
        let revision = seen.revision();
        let bookmark = matches!(seen, Seen::Bookmark(_));
        let rule = match (bookmark, told.contains(&revision)) {
            (false, true) => Some(Rule::NoEventDoubled),
            (false, false) if revision <= reached => Some(Rule::NoEventReordered),
            (true, _) if revision < reached => Some(Rule::NoEventReordered),
            _ => None,
        };
        let what = || format!("watch of {} after {} was at {reached}, then came {seen:?}", watch.client, watch.after);
        violations.extend(rule.map(|rule| violation(rule, what())));
        reached = reached.max(revision);
        if !bookmark {
            told.insert(revision);
        }
    }
}

fn completeness(watch: &Watch, timeline: &Timeline, violations: &mut Vec<Violation>) {
    let told: BTreeSet<u64> =
        watch.seen.iter().filter(|s| !matches!(s, Seen::Bookmark(_))).map(Seen::revision).collect();
    let reached = watch.reached();
    for (revision, key) in timeline.between(watch.after, reached).filter(|(revision, _)| !told.contains(revision)) {
        let source = timeline.at(key, revision).map_or("", |(_, change)| change.source.as_str());
        let what = format!(
            "watch of {} after {} reached {reached} without the change of {key} at {revision} that {source} tells of",
            watch.client, watch.after
        );
        violations.push(violation(Rule::NoEventLost, what));
    }
}

/// What is wrong with an event as a tale of its change.
fn tells(seen: &Seen, timeline: &Timeline) -> Option<String> {
    let (Seen::Added { key, revision, .. }
    | Seen::Modified { key, revision, .. }
    | Seen::Deleted { key, revision, .. }) = seen
    else {
        return None;
    };
    let before = timeline.before(key, *revision);
    let since = before.map_or(0, |(at, _)| at);
    if !timeline.is_known_before(key, *revision) {
        return None;
    }
    let value = before.and_then(|(_, change)| change.value.as_deref());
    let right = match seen {
        Seen::Added { .. } => value.is_none(),
        Seen::Modified { .. } => value.is_some(),
        Seen::Deleted { value: last, .. } => value == Some(last.as_str()),
        Seen::Bookmark(_) => true,
    };
    (!right).then(|| format!("{seen:?}, but before it was {value:?} (since {since})"))
}
