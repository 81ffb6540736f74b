//! InterPodAffinity: pods that want to be, or must not be, in the same place as other pods. A place is the set of nodes with
//! the same value of a label.

use std::{borrow::Cow, sync::Arc};

use serde::Deserialize;

use crate::{
    cache::{Column, Group, Meaning, NodeInfo, PodInfo, Snapshot, Term},
    framework::{
        ClusterEvent, Code, ConfigError, Context, CycleState, Descriptor, MAX_SCORE, NodeFilter, NodeScorer, Plugin,
        Point, PreFilter, PreScore, Refusal,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "InterPodAffinity",
    points: &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score],
    weight: 2,
    build,
};

const AFFINITY: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't match pod affinity rules")]);
const ANTI_AFFINITY: Refusal =
    Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) didn't match pod anti-affinity rules")]);
const EXISTING: Refusal =
    Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) didn't satisfy existing pods anti-affinity rules")]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    hard_pod_affinity_weight: i64,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

struct InterPodAffinity {
    args: Args,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::args("InterPodAffinity", args)?;
    if !(0..=100).contains(&args.hard_pod_affinity_weight) {
        let message = "hardPodAffinityWeight: must be in 0..100".to_owned();
        return Err(ConfigError::Args { plugin: "InterPodAffinity", message });
    }
    Ok(Arc::new(InterPodAffinity { args }))
}

/// A number per place, for each label that makes places.
#[derive(Clone, Default)]
struct Places(Vec<Label>);

#[derive(Clone)]
struct Label {
    key: String,
    column: Arc<Column>,
    counts: Vec<i64>,
    sum: i64,
    /// Whether any pod was counted, even if the counts cancel out.
    counted: bool,
}

impl Places {
    fn label(&mut self, snapshot: &Snapshot, key: &str) -> &mut Label {
        let at = self.0.iter().position(|label| label.key == key).unwrap_or_else(|| {
            let column = snapshot.column(key);
            self.0.push(Label {
                key: key.to_owned(),
                counts: vec![0; column.places()],
                sum: 0,
                counted: false,
                column,
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn add_group(&mut self, snapshot: &Snapshot, key: &str, group: &Group, weight: i64) {
        let label = self.label(snapshot, key);
        group.counts().for_each(|(slot, count)| label.add(slot, weight * count));
    }

    /// Whether no pod was counted; where no count is negative.
    fn is_empty(&self) -> bool {
        self.0.iter().all(|label| label.sum == 0)
    }

    /// Whether the node lies in a place with a number above zero.
    fn covers(&self, node: &NodeInfo) -> bool {
        self.0.iter().any(|label| label.on(node) > 0)
    }
}

impl Label {
    fn add(&mut self, slot: usize, by: i64) {
        if let Some(place) = self.column.at(slot) {
            self.counts[place] += by;
            self.sum += by;
            self.counted = true;
        }
    }

    fn on(&self, node: &NodeInfo) -> i64 {
        self.column.of(node).map_or(0, |place| self.counts[place])
    }
}

#[derive(Clone)]
struct Filter<'a> {
    cx: Context<'a>,
    /// Places of pods that every required affinity term means.
    wanted: Places,
    /// Places of pods that a required anti-affinity term means.
    unwanted: Places,
    /// Places where a pod forbids this one.
    forbidden: Places,
    /// Whether the pod is of the kind that it wants to be with.
    wants_own_kind: bool,
}

fn all_match(terms: &[Arc<Term>], pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let labels = snapshot.namespace_labels(pod.namespace());
    !terms.is_empty() && terms.iter().all(|term| term.matches(&pod.pod, labels))
}

/// The pods that all the terms mean.
fn group(snapshot: &Snapshot, terms: &[Arc<Term>]) -> Arc<Group> {
    let parts = terms.iter().map(|term| (snapshot.namespaces_of(term), term.selector.clone())).collect();
    snapshot.group(Meaning { parts, living_only: false })
}

impl<'a> Filter<'a> {
    fn new(cx: Context<'a>) -> Self {
        let snapshot = cx.snapshot;
        let mut filter = Filter {
            cx,
            wanted: Places::default(),
            unwanted: Places::default(),
            forbidden: Places::default(),
            wants_own_kind: all_match(cx.pod.required_affinity(), cx.pod, snapshot),
        };
        let labels = snapshot.namespace_labels(cx.pod.namespace());
        for held in snapshot.held.required_anti.iter().filter(|held| held.term.matches(&cx.pod.pod, labels)) {
            let label = filter.forbidden.label(snapshot, &held.term.topology_key);
            held.on().for_each(|(slot, pods, _)| label.add(slot, pods));
        }
        let required = cx.pod.required_affinity();
        if !required.is_empty() {
            let group = group(snapshot, required);
            required.iter().for_each(|term| filter.wanted.add_group(snapshot, &term.topology_key, &group, 1));
        }
        for term in cx.pod.required_anti_affinity() {
            let group = group(snapshot, std::slice::from_ref(term));
            filter.unwanted.add_group(snapshot, &term.topology_key, &group, 1);
        }
        filter
    }

    /// Counts a pod in (`by` 1) or out (-1) on a dry run.
    fn adjust(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let snapshot = self.cx.snapshot;
        let own = snapshot.namespace_labels(self.cx.pod.namespace());
        let others = snapshot.namespace_labels(pod.namespace());
        for term in pod.required_anti_affinity().iter().filter(|t| t.matches(&self.cx.pod.pod, own)) {
            self.forbidden.label(snapshot, &term.topology_key).add(node.slot, by);
        }
        if all_match(self.cx.pod.required_affinity(), pod, snapshot) {
            for term in self.cx.pod.required_affinity() {
                self.wanted.label(snapshot, &term.topology_key).add(node.slot, by);
            }
        }
        for term in self.cx.pod.required_anti_affinity().iter().filter(|t| t.matches(&pod.pod, others)) {
            self.unwanted.label(snapshot, &term.topology_key).add(node.slot, by);
        }
    }

    /// Whether the pods that the pod wants to be with are here; the first pod of a group that wants its own kind goes anywhere.
    fn is_with_wanted(&self, node: &NodeInfo) -> bool {
        // There is a label for every required term.
        let mut there = true;
        for label in &self.wanted.0 {
            let Some(place) = label.column.of(node) else { return false };
            there &= label.counts[place] > 0;
        }
        there || (self.wants_own_kind && self.wanted.is_empty())
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if !self.is_with_wanted(node) {
            return Err(AFFINITY);
        }
        if self.unwanted.covers(node) {
            return Err(ANTI_AFFINITY);
        }
        if self.forbidden.covers(node) { Err(EXISTING) } else { Ok(()) }
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.adjust(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.adjust(pod, node, -1);
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}

struct Scorer(Places);

impl Scorer {
    /// Adds up what the terms of the pod, and of the pods on nodes, make of each other.
    fn new(args: &Args, cx: Context<'_>) -> Self {
        let snapshot = cx.snapshot;
        let mut places = Places::default();
        let own = cx.pod.affinity.as_ref().filter(|a| !a.preferred.is_empty() || !a.preferred_anti.is_empty());
        if own.is_none() && args.ignore_preferred_terms_of_existing_pods {
            return Scorer(places);
        }
        if let Some(own) = own {
            let signed = own.preferred.iter().map(|(weight, term)| (*weight, term));
            for (weight, term) in signed.chain(own.preferred_anti.iter().map(|(weight, term)| (-weight, term))) {
                let group = group(snapshot, std::slice::from_ref(term));
                places.add_group(snapshot, &term.topology_key, &group, weight);
            }
        }
        let labels = snapshot.namespace_labels(cx.pod.namespace());
        if args.hard_pod_affinity_weight > 0 {
            for held in snapshot.held.required.iter().filter(|held| held.term.matches(&cx.pod.pod, labels)) {
                let label = places.label(snapshot, &held.term.topology_key);
                held.on().for_each(|(slot, pods, _)| label.add(slot, pods * args.hard_pod_affinity_weight));
            }
        }
        if !args.ignore_preferred_terms_of_existing_pods {
            for held in snapshot.held.preferred.iter().filter(|held| held.term.matches(&cx.pod.pod, labels)) {
                let label = places.label(snapshot, &held.term.topology_key);
                held.on().for_each(|(slot, _, weight)| label.add(slot, weight));
            }
        }
        Scorer(places)
    }
}

impl NodeScorer for Scorer {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.0.iter().map(|label| label.on(node)).sum()
    }

    fn normalize(&self, scores: &mut [i64], _nodes: &[&NodeInfo]) {
        let (Some(least), Some(most)) = (scores.iter().min().copied(), scores.iter().max().copied()) else { return };
        for score in scores {
            let part = if most > least { (*score - least) as f64 / (most - least) as f64 } else { 0.0 };
            *score = (MAX_SCORE as f64 * part) as i64;
        }
    }
}

impl Plugin for InterPodAffinity {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let filter = Filter::new(cx);
        let indifferent = cx.pod.required_affinity().is_empty() && cx.pod.required_anti_affinity().is_empty();
        if indifferent && filter.forbidden.is_empty() { PreFilter::Skip } else { PreFilter::filter(filter) }
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let scorer = Scorer::new(&self.args, cx);
        if scorer.0.0.iter().any(|label| label.counted) { PreScore::score(scorer) } else { PreScore::Skip }
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::AssignedPodAdded(_) => !pod.required_affinity().is_empty(),
            ClusterEvent::AssignedPodUpdated(..)
            | ClusterEvent::AssignedPodDeleted(_)
            | ClusterEvent::PodUpdated(..) => true,
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated(before, after) => before.metadata.labels != after.metadata.labels,
            ClusterEvent::Other(kind) => *kind == "Namespace",
            ClusterEvent::ClaimChanged { .. } => false,
        }
    }
}
