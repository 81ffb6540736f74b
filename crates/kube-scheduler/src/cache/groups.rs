//! Groups of pods: how many pods that a selector means are on each node, and which terms the pods there have towards others.
//!
//! A group is counted when it is first asked for, and kept up to date from then on. What pods on nodes say of other pods is
//! kept by term, since most pods share their terms with their siblings.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use component_helpers::labels;

use super::pod_info::{PodInfo, Term};

/// How many groups are kept up to date at most.
const CAPACITY: usize = 512;

/// Which pods are meant: those that every part means.
#[derive(Clone, Debug)]
pub struct Meaning {
    /// Namespaces and labels.
    pub parts: Vec<(BTreeSet<String>, Option<LabelSelector>)>,
    /// Whether pods that are being deleted are left out.
    pub living_only: bool,
}

impl Meaning {
    fn matches(&self, pod: &PodInfo) -> bool {
        let part = |(namespaces, selector): &(BTreeSet<String>, Option<LabelSelector>)| {
            namespaces.contains(pod.namespace()) && labels::selects(selector.as_ref(), pod.labels())
        };
        (!self.living_only || !pod.is_terminating()) && self.parts.iter().all(part)
    }
}

/// How many of the meant pods are on each node.
#[derive(Clone, Debug)]
pub struct Group {
    meaning: Meaning,
    /// By slot; nodes without any are absent.
    counts: HashMap<usize, i64>,
}

impl Group {
    /// Slots and counts, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (usize, i64)> {
        self.counts.iter().map(|(slot, count)| (*slot, *count))
    }

    /// The count on one node.
    #[must_use]
    pub fn on(&self, slot: usize) -> i64 {
        self.counts.get(&slot).copied().unwrap_or(0)
    }

    fn change(&mut self, slot: usize, by: i64) {
        let count = self.counts.entry(slot).or_default();
        *count += by;
        if *count == 0 {
            self.counts.remove(&slot);
        }
    }
}

/// The groups that are kept.
#[derive(Debug, Default)]
pub(super) struct Groups {
    known: HashMap<String, (Arc<Group>, u64)>,
    uses: u64,
}

impl Groups {
    /// The group, counted over `pods` (with their slots) where it is not known yet.
    pub(super) fn get<'a>(
        &mut self,
        meaning: Meaning,
        pods: impl Iterator<Item = (usize, &'a Arc<PodInfo>)>,
    ) -> Arc<Group> {
        self.uses += 1;
        let id = format!("{meaning:?}");
        if let Some((group, used)) = self.known.get_mut(&id) {
            *used = self.uses;
            return group.clone();
        }
        let mut group = Group { meaning, counts: HashMap::new() };
        for (slot, pod) in pods {
            if group.meaning.matches(pod) {
                group.change(slot, 1);
            }
        }
        if self.known.len() >= CAPACITY
            && let Some(oldest) = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone())
        {
            self.known.remove(&oldest);
        }
        let group = Arc::new(group);
        self.known.insert(id, (group.clone(), self.uses));
        group
    }

    /// A pod came to (`by` 1) or left (-1) a node.
    pub(super) fn count(&mut self, slot: usize, pod: &PodInfo, by: i64) {
        for (group, _) in self.known.values_mut() {
            if group.meaning.matches(pod) {
                Arc::make_mut(group).change(slot, by);
            }
        }
    }
}

/// A term that pods on nodes have.
#[derive(Debug)]
pub struct Held {
    /// The term.
    pub term: Arc<Term>,
    /// By slot: how many pods have it, and the sum of what it weighs for them.
    on: HashMap<usize, (i64, i64)>,
}

impl Held {
    /// Slots with the number of pods and the sum of weights, in no order.
    pub fn on(&self) -> impl Iterator<Item = (usize, i64, i64)> {
        self.on.iter().map(|(slot, (pods, weight))| (*slot, *pods, *weight))
    }
}

/// Terms by what they say.
#[derive(Debug, Default)]
pub struct Terms(HashMap<Arc<str>, Held>);

impl Terms {
    /// Every term, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.values()
    }

    fn count(&mut self, slot: usize, term: &Arc<Term>, by: i64, weight: i64) {
        let held = self.0.entry(term.id.clone()).or_insert_with(|| Held { term: term.clone(), on: HashMap::new() });
        let entry = held.on.entry(slot).or_default();
        entry.0 += by;
        entry.1 += by * weight;
        if entry.0 == 0 {
            held.on.remove(&slot);
        }
        if held.on.is_empty() {
            self.0.remove(&term.id);
        }
    }
}

/// What the pods on nodes say of other pods.
#[derive(Debug, Default)]
pub struct HeldTerms {
    /// Pods that must be near.
    pub required: Terms,
    /// Pods that must not be near.
    pub required_anti: Terms,
    /// Pods that should (weight above zero) or should not be near.
    pub preferred: Terms,
}

impl HeldTerms {
    /// A pod came to (`by` 1) or left (-1) a node.
    pub(super) fn count(&mut self, slot: usize, pod: &PodInfo, by: i64) {
        let Some(affinity) = &pod.affinity else { return };
        affinity.required.iter().for_each(|term| self.required.count(slot, term, by, 1));
        affinity.required_anti.iter().for_each(|term| self.required_anti.count(slot, term, by, 1));
        affinity.preferred.iter().for_each(|(weight, term)| self.preferred.count(slot, term, by, *weight));
        affinity.preferred_anti.iter().for_each(|(weight, term)| self.preferred.count(slot, term, by, -weight));
    }
}
