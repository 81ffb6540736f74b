//! NodeAffinity: the pod's node selector and node affinity, and what the configuration adds to them.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{
    NodeAffinity as Affinity, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm,
};
use component_helpers::node_affinity;
use serde::Deserialize;

use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{
        ClusterEvent, Code, Context, CycleState, Descriptor, Lack, NodeFilter, NodeScorer, Plugin, Point, PreFilter,
        PreScore, Refusal, Signature, normalize_by_highest,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodeAffinity",
    points: &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score],
    weight: 2,
    build: |args| Ok(Arc::new(NodeAffinity { args: super::args("NodeAffinity", args)? })),
};

const MISMATCH: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't match Pod's node affinity/selector")]);
const ENFORCED: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't match scheduler-enforced node affinity")]);
const CONFLICT: Refusal = Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("pod affinity terms conflict")]);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    added_affinity: Option<Affinity>,
}

struct NodeAffinity {
    args: Args,
}

#[derive(Clone)]
struct Filter<'a> {
    spec: Option<&'a PodSpec>,
    added: Option<&'a Affinity>,
}

struct Scorer<'a>(Vec<&'a PreferredSchedulingTerm>);

fn pod_affinity(pod: &PodInfo) -> Option<&Affinity> {
    pod.spec()?.affinity.as_ref()?.node_affinity.as_ref()
}

impl Plugin for NodeAffinity {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let required = cx.pod.spec().and_then(node_affinity::required);
        let selector = cx.pod.spec().and_then(|s| s.node_selector.as_ref());
        let added = self.args.added_affinity.as_ref();
        if required.is_none() && selector.is_none_or(|s| s.is_empty()) && added.is_none() {
            return PreFilter::Skip;
        }
        let filter = Filter { spec: cx.pod.spec(), added };
        match required.and_then(|r| named_nodes(&r.node_selector_terms)) {
            None => PreFilter::filter(filter),
            Some(names) if names.is_empty() => PreFilter::Refuse(CONFLICT),
            Some(names) => PreFilter::Narrow(names, Box::new(filter)),
        }
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let preferred = |affinity: Option<&'a Affinity>| {
            affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
        };
        let own = preferred(pod_affinity(cx.pod));
        let terms: Vec<_> = own.iter().chain(preferred(self.args.added_affinity.as_ref())).collect();
        if terms.is_empty() { PreScore::Skip } else { PreScore::score(Scorer(terms)) }
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let filter = Filter { spec: pod.spec(), added: self.args.added_affinity.as_ref() };
        match event {
            ClusterEvent::NodeAdded(node) => filter.judge(node).is_ok(),
            ClusterEvent::NodeUpdated(before, after) => filter.judge(before).is_err() && filter.judge(after).is_ok(),
            ClusterEvent::PodUpdated(..) => true,
            _ => false,
        }
    }
}

/// The nodes that the terms name, where every term names some.
fn named_nodes(terms: &[NodeSelectorTerm]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in terms {
        let fields = term.match_fields.iter().flatten().filter(|f| f.key == "metadata.name" && f.operator == "In");
        let named = fields.map(|f| f.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
        all.extend(named.reduce(|a, b| &a & &b)?);
    }
    Some(all)
}

impl Filter<'_> {
    fn judge(&self, node: &api_types::k8s_openapi::api::core::v1::Node) -> Result<(), Refusal> {
        let added = self.added.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        if added.is_some_and(|selector| !node_affinity::selector_matches(selector, node)) {
            return Err(ENFORCED);
        }
        if self.spec.is_none_or(|spec| node_affinity::pod_accepts(spec, node)) { Ok(()) } else { Err(MISMATCH) }
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        self.judge(&node.node)
    }

    /// Of the node selector: what a required affinity wants has more than one way of being there.
    fn lacks(&self, node: &NodeInfo) -> Vec<Lack> {
        let selector = self.spec.and_then(|spec| spec.node_selector.as_ref());
        let wrong = selector.into_iter().flatten().filter(|(key, value)| node.label(key) != Some(value.as_str()));
        wrong
            .map(|(key, value)| Lack::whole(format!("label {key}"), value, node.label(key).unwrap_or("none")))
            .collect()
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(self.spec.and_then(|spec| spec.node_selector.as_ref()));
        signature.add(self.spec.and_then(node_affinity::required));
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let matching = self.0.iter().filter(|term| node_affinity::term_matches(&term.preference, &node.node));
        matching.map(|term| i64::from(term.weight)).sum()
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(&self.0);
        true
    }

    fn normalize(&self, scores: &mut [i64], _nodes: &[&NodeInfo]) {
        normalize_by_highest(scores, false);
    }
}
