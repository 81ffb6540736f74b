//! Did the cluster keep its promises? A pure check of what clients asked, were told and saw while everything around them
//! broke.
//!
//! Revisions make it simpler than the search that linearizability needs in general: they say in which order changes
//! happened, so that all observations must agree on one [`timeline`](timeline::Timeline) of the keys, and each operation must
//! fit into it at some revision between what was true before it began and what happened after it had ended. From a complete
//! watch and lists that each equal the timeline's state follows that a list and a watch give the next list.
//!
//! A write without an answer may have happened or not; nothing else is taken for possible but what was recorded.
//!
//! Invariant: knows keys, values and revisions; no client, no clock.

mod operations;
#[cfg(test)]
mod tests;
mod timeline;
mod watches;

use std::{collections::BTreeMap, fmt};

use self::timeline::Timeline;

/// A point in the order in which one recorder heard of things.
pub type Moment = u64;

/// Everything that the clients of one run did and saw. Values are written once each: a value names its write.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    pub operations: Vec<Operation>,
    pub watches: Vec<Watch>,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: String,
    pub began: Moment,
    pub ended: Moment,
    /// Empty for lists, which are of all keys.
    pub key: String,
    pub call: Call,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Put {
        value: String,
        expected: Expected,
    },
    /// Only if the key stands at this revision, where there is one.
    Delete {
        expected: Option<u64>,
    },
    Get,
    List(At),
}

/// At which revision a key must stand to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    At(u64),
    /// At any, but it must be there.
    Any,
}

/// Which state a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Newest,
    Any,
    NotOlderThan(u64),
    Exact(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No answer, or one that leaves open whether the write happened.
    Unknown,
    Written {
        revision: u64,
    },
    Deleted,
    /// Found at its revision.
    Found {
        revision: u64,
        value: String,
    },
    Listed {
        revision: u64,
        items: BTreeMap<String, (u64, String)>,
    },
    /// Refused: the key was there.
    Exists,
    /// Refused: the key stood at another revision.
    Conflict,
    /// Refused, or the answer of a read: there was no such key.
    Absent,
    /// Refused for a reason that says nothing of the data (history compacted, overload).
    Refused,
}

/// One stream of events.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub client: String,
    /// Asked for what comes after this revision.
    pub after: u64,
    pub seen: Vec<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Added {
        key: String,
        revision: u64,
        value: String,
    },
    Modified {
        key: String,
        revision: u64,
        value: String,
    },
    /// With the last value.
    Deleted {
        key: String,
        revision: u64,
        value: String,
    },
    Bookmark(u64),
}

/// What was promised and not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A write that began after another had ended has a later revision.
    RevisionsRise,
    /// All who tell of a revision tell the same.
    OneTruth,
    /// A watch has every change between its start and its last event or bookmark,
    NoEventLost,
    /// each once,
    NoEventDoubled,
    /// in the order of revisions,
    NoEventReordered,
    /// and says rightly whether the object was there before, and what it was last.
    EventTellsTheChange,
    /// A list is the state at its revision.
    ListIsTheState,
    /// What was acknowledged stays.
    WritesSurvive,
    /// A read sees what was true at some time between its begin and its end.
    ReadsAreFresh,
    /// A write with a precondition happened only where it held.
    SwapsHold,
    /// A refusal is true, and what was refused did not happen.
    RefusalsHold,
    /// What was asked for once happened at most once.
    NoWriteDoubled,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub rule: Rule,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// Everything that is wrong with what was observed.
pub fn check(observations: &Observations) -> Vec<Violation> {
    let mut violations = Vec::new();
    let timeline = Timeline::of(observations, &mut violations);
    watches::check(observations, &timeline, &mut violations);
    operations::check(observations, &timeline, &mut violations);
    violations.sort();
    violations.dedup();
    violations
}

fn violation(rule: Rule, what: String) -> Violation {
    Violation { rule, what }
}
