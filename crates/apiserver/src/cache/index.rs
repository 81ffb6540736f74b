//! Indexes of a resource's entries by what lists and watches demand most: one label or one field with one value.
//!
//! An index is made when the first list asks for it, and kept current from then on: "the pods of this node" costs what the node has, not
//! what the cluster has. Their number is bounded; what has no index is found by looking at everything.

use std::{collections::BTreeMap, sync::Arc};

use super::entry::Entry;

/// Indexes kept per resource.
const MOST: usize = 16;

/// What an index is by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The label of this key.
    Label(String),
    /// The selectable field of this label.
    Field(String),
}

/// A condition that all wanted objects fulfil: this label or field has this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    pub by: By,
    pub value: String,
}

impl By {
    /// The entry's value; `None` where it lacks the label.
    pub(super) fn of<'a>(&self, entry: &'a Entry) -> Option<&'a str> {
        match self {
            By::Label(key) => entry.selectable.label(key),
            By::Field(label) => entry.selectable.field(label),
        }
    }
}

type Entries = BTreeMap<Arc<str>, Arc<Entry>>;

/// Entries by value, of each [`By`] that was asked for.
#[derive(Default)]
pub(super) struct Indexes(BTreeMap<By, BTreeMap<String, Entries>>);

impl Indexes {
    /// The entries of which `term` holds; `None` when there is no index for it and none is to be made any more.
    pub(super) fn find(&mut self, term: &Term, all: &Entries) -> Option<&Entries> {
        static NONE: Entries = Entries::new();
        if !self.0.contains_key(&term.by) {
            if self.0.len() >= MOST {
                return None;
            }
            let mut values = BTreeMap::new();
            all.values().for_each(|entry| insert(&mut values, &term.by, entry));
            self.0.insert(term.by.clone(), values);
        }
        Some(self.0.get(&term.by)?.get(&term.value).unwrap_or(&NONE))
    }

    /// Follows a change of one entry.
    pub(super) fn replace(&mut self, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>) {
        for (by, values) in &mut self.0 {
            let (before, after) = (old.and_then(|e| by.of(e)), new.and_then(|e| by.of(e)));
            if let (Some(entry), Some(value)) = (old, before)
                && before != after
                && let Some(entries) = values.get_mut(value)
            {
                entries.remove(&entry.key);
                if entries.is_empty() {
                    values.remove(value);
                }
            }
            if let Some(entry) = new {
                insert(values, by, entry);
            }
        }
    }
}

fn insert(values: &mut BTreeMap<String, Entries>, by: &By, entry: &Arc<Entry>) {
    let Some(value) = by.of(entry) else { return };
    let entries = match values.get_mut(value) {
        Some(entries) => entries,
        None => values.entry(value.to_owned()).or_default(),
    };
    entries.insert(Arc::clone(&entry.key), Arc::clone(entry));
}
