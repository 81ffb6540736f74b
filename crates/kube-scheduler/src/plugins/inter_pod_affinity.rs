//! InterPodAffinity: pods that want to be, or must not be, in the same place as other pods. A place is the set of nodes with
//! the same value of a label.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    cache::{NodeInfo, PodInfo, Snapshot, Term},
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

/// A number per place: by label key and value.
#[derive(Clone, Default)]
struct Places<'a>(BTreeMap<Cow<'a, str>, HashMap<Cow<'a, str>, i64>>);

impl<'a> Places<'a> {
    fn add(&mut self, key: &'a str, value: &'a str, by: i64) {
        *self.0.entry(Cow::Borrowed(key)).or_default().entry(Cow::Borrowed(value)).or_default() += by;
    }

    /// As [`Self::add`], for names that do not live as long; a place that comes to zero is dropped.
    fn adjust(&mut self, key: &str, value: &str, by: i64) {
        let values = self.0.entry(Cow::Owned(key.to_owned())).or_default();
        let count = values.entry(Cow::Owned(value.to_owned())).or_default();
        *count += by;
        if *count == 0 {
            values.remove(value);
        }
    }

    fn get(&self, key: &str, value: &str) -> i64 {
        self.0.get(key).and_then(|values| values.get(value)).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(HashMap::is_empty)
    }

    /// Whether the node lies in a place with a number above zero.
    fn covers(&self, node: &NodeInfo) -> bool {
        self.0
            .iter()
            .any(|(key, values)| node.label(key).is_some_and(|value| values.get(value).is_some_and(|n| *n > 0)))
    }
}

#[derive(Clone)]
struct Filter<'a> {
    cx: Context<'a>,
    /// Places of pods that every required affinity term means.
    wanted: Places<'a>,
    /// Places of pods that a required anti-affinity term means.
    unwanted: Places<'a>,
    /// Places where a pod forbids this one.
    forbidden: Places<'a>,
}

fn all_match(terms: &[Term], pod: &PodInfo, snapshot: &Snapshot) -> bool {
    let labels = snapshot.namespace_labels(pod.namespace());
    !terms.is_empty() && terms.iter().all(|term| term.matches(&pod.pod, labels))
}

impl<'a> Filter<'a> {
    fn new(cx: Context<'a>) -> Self {
        let mut filter =
            Filter { cx, wanted: Places::default(), unwanted: Places::default(), forbidden: Places::default() };
        let labels = cx.snapshot.namespace_labels(cx.pod.namespace());
        for node in cx.snapshot.nodes_with_required_anti_affinity() {
            for pod in node.pods.iter().filter(|p| !p.required_anti_affinity().is_empty()) {
                for term in pod.required_anti_affinity().iter().filter(|t| t.matches(&cx.pod.pod, labels)) {
                    if let Some(value) = node.label(&term.topology_key) {
                        filter.forbidden.add(&term.topology_key, value, 1);
                    }
                }
            }
        }
        if !cx.pod.required_affinity().is_empty() || !cx.pod.required_anti_affinity().is_empty() {
            for node in cx.snapshot.nodes() {
                filter.count_node(node);
            }
        }
        filter
    }

    fn count_node(&mut self, node: &'a NodeInfo) {
        let snapshot = self.cx.snapshot;
        for pod in &node.pods {
            if all_match(self.cx.pod.required_affinity(), pod, snapshot) {
                for term in self.cx.pod.required_affinity() {
                    if let Some(value) = node.label(&term.topology_key) {
                        self.wanted.add(&term.topology_key, value, 1);
                    }
                }
            }
            for term in self.cx.pod.required_anti_affinity() {
                if let Some(value) = node.label(&term.topology_key)
                    && term.matches(&pod.pod, snapshot.namespace_labels(pod.namespace()))
                {
                    self.unwanted.add(&term.topology_key, value, 1);
                }
            }
        }
    }

    /// Counts a pod in (`by` 1) or out (-1) on a dry run.
    fn adjust(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let snapshot = self.cx.snapshot;
        let own = snapshot.namespace_labels(self.cx.pod.namespace());
        let others = snapshot.namespace_labels(pod.namespace());
        for term in pod.required_anti_affinity().iter().filter(|t| t.matches(&self.cx.pod.pod, own)) {
            if let Some(value) = node.label(&term.topology_key) {
                self.forbidden.adjust(&term.topology_key, value, by);
            }
        }
        if all_match(self.cx.pod.required_affinity(), pod, snapshot) {
            for term in self.cx.pod.required_affinity() {
                if let Some(value) = node.label(&term.topology_key) {
                    self.wanted.adjust(&term.topology_key, value, by);
                }
            }
        }
        for term in self.cx.pod.required_anti_affinity().iter().filter(|t| t.matches(&pod.pod, others)) {
            if let Some(value) = node.label(&term.topology_key) {
                self.unwanted.adjust(&term.topology_key, value, by);
            }
        }
    }

    /// Whether the pods that the pod wants to be with are here; the first pod of a group that wants its own kind goes anywhere.
    fn is_with_wanted(&self, node: &NodeInfo) -> bool {
        let mut there = true;
        for term in self.cx.pod.required_affinity() {
            let Some(value) = node.label(&term.topology_key) else { return false };
            there &= self.wanted.get(&term.topology_key, value) > 0;
        }
        there || (self.wanted.is_empty() && all_match(self.cx.pod.required_affinity(), self.cx.pod, self.cx.snapshot))
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

struct Scorer<'a>(Places<'a>);

impl<'a> Scorer<'a> {
    fn new(args: &Args, cx: Context<'a>) -> Self {
        let mut places = Places::default();
        let preferring =
            cx.pod.affinity.as_ref().is_some_and(|a| !a.preferred.is_empty() || !a.preferred_anti.is_empty());
        if preferring {
            for node in cx.snapshot.nodes() {
                node.pods.iter().for_each(|pod| weigh(args, cx, node, pod, &mut places));
            }
        } else if !args.ignore_preferred_terms_of_existing_pods {
            for node in cx.snapshot.nodes_with_affinity() {
                node.pods
                    .iter()
                    .filter(|p| p.affinity.is_some())
                    .for_each(|pod| weigh(args, cx, node, pod, &mut places));
            }
        }
        Scorer(places)
    }
}

/// Adds what the terms of the pod, and of the pod that runs on the node, make of each other.
fn weigh<'a>(args: &Args, cx: Context<'a>, node: &'a NodeInfo, other: &'a PodInfo, places: &mut Places<'a>) {
    let mut count = |term: &'a Term, meant: &PodInfo, weight: i64| {
        if let Some(value) = node.label(&term.topology_key)
            && term.matches(&meant.pod, cx.snapshot.namespace_labels(meant.namespace()))
        {
            places.add(&term.topology_key, value, weight);
        }
    };
    if let Some(own) = &cx.pod.affinity {
        own.preferred.iter().for_each(|(weight, term)| count(term, other, *weight));
        own.preferred_anti.iter().for_each(|(weight, term)| count(term, other, -weight));
    }
    if let Some(theirs) = &other.affinity {
        if args.hard_pod_affinity_weight > 0 {
            theirs.required.iter().for_each(|term| count(term, cx.pod, args.hard_pod_affinity_weight));
        }
        if !args.ignore_preferred_terms_of_existing_pods {
            theirs.preferred.iter().for_each(|(weight, term)| count(term, cx.pod, *weight));
            theirs.preferred_anti.iter().for_each(|(weight, term)| count(term, cx.pod, -weight));
        }
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let places = self.0.0.iter();
        places.filter_map(|(key, values)| values.get(node.label(key)?)).sum()
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
        if scorer.0.0.is_empty() { PreScore::Skip } else { PreScore::score(scorer) }
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
        }
    }
}
