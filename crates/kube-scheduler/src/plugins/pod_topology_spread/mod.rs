//! PodTopologySpread: pods of one kind are spread over places (values of a node label).

mod defaults;
mod filter;
mod score;

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::core::v1::{Toleration, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use component_helpers::{labels, node_affinity, taints};
use serde::Deserialize;

use crate::{
    cache::{Column, Group, Meaning, NodeInfo, PodInfo, Snapshot, with_label_keys},
    framework::{ClusterEvent, ConfigError, Context, CycleState, Descriptor, Plugin, Point, PreFilter, PreScore},
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "PodTopologySpread",
    points: &[Point::PreFilter, Point::Filter, Point::PreScore, Point::Score],
    weight: 2,
    build,
};

const DO_NOT_SCHEDULE: &str = "DoNotSchedule";
const SCHEDULE_ANYWAY: &str = "ScheduleAnyway";
const HOSTNAME: &str = "kubernetes.io/hostname";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Args {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: String,
}

impl Default for Args {
    fn default() -> Self {
        Args { default_constraints: Vec::new(), defaulting_type: "System".to_owned() }
    }
}

struct PodTopologySpread {
    /// For pods that name none.
    defaults: Vec<TopologySpreadConstraint>,
    /// Whether the defaults are the built-in ones, which do not ask that nodes have every label.
    built_in_defaults: bool,
}

fn build(args: &serde_json::Value) -> Result<Arc<dyn Plugin>, ConfigError> {
    let args: Args = super::args("PodTopologySpread", args)?;
    let error = |message: &str| ConfigError::Args { plugin: "PodTopologySpread", message: message.to_owned() };
    let built_in = match args.defaulting_type.as_str() {
        "System" if args.default_constraints.is_empty() => true,
        "System" => return Err(error("defaultConstraints: not allowed when .defaultingType is \"System\"")),
        "List" => false,
        _ => return Err(error("defaultingType: supported values: \"System\", \"List\"")),
    };
    if args.default_constraints.iter().any(|c| c.label_selector.is_some()) {
        return Err(error("defaultConstraints: constraint must not define a selector, as they deduced for each pod"));
    }
    let defaults = if built_in { defaults::built_in() } else { args.default_constraints };
    Ok(Arc::new(PodTopologySpread { defaults, built_in_defaults: built_in }))
}

/// A constraint with what it inherits from the pod.
#[derive(Clone, Debug)]
struct Constraint {
    max_skew: i64,
    topology_key: String,
    selector: Option<LabelSelector>,
    min_domains: i64,
    honor_affinity: bool,
    honor_taints: bool,
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> Self {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        Constraint {
            max_skew: i64::from(constraint.max_skew),
            topology_key: constraint.topology_key.clone(),
            selector: constraint.label_selector.as_ref().map(|s| with_label_keys(s, keys, pod.labels())),
            min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    /// Whether the constraint means pods with these labels.
    fn selects(&self, pod: &PodInfo) -> bool {
        labels::selects(self.selector.as_ref(), pod.labels())
    }

    /// Whether pods on the node count.
    fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let Some(spec) = pod.spec() else { return true };
        let tolerations: &[Toleration] = spec.tolerations.as_deref().unwrap_or_default();
        (!self.honor_affinity || node_affinity::pod_accepts(spec, &node.node))
            && (!self.honor_taints
                || taints::find_untolerated(node.taints(), tolerations, &[taints::NO_SCHEDULE, taints::NO_EXECUTE])
                    .is_none())
    }

    /// Whether pods on every node count, so that no node need be asked.
    fn includes_all(&self, pod: &PodInfo) -> bool {
        let Some(spec) = pod.spec() else { return true };
        let picky =
            spec.node_selector.as_ref().is_some_and(|s| !s.is_empty()) || node_affinity::required(spec).is_some();
        !self.honor_taints && (!self.honor_affinity || !picky)
    }

    /// The pods that count, where any do: a selector that selects everything counts nothing, as upstream.
    fn group(&self, cx: Context<'_>) -> Option<Arc<Group>> {
        if labels::is_empty(self.selector.as_ref()) {
            return None;
        }
        let namespaces = [cx.pod.namespace().to_owned()].into();
        Some(cx.snapshot.group(Meaning { parts: vec![(namespaces, self.selector.clone())], living_only: true }))
    }
}

/// A constraint with the places that it is about and the pods that count.
#[derive(Clone)]
struct Counted {
    constraint: Constraint,
    column: Arc<Column>,
    group: Option<Arc<Group>>,
}

impl Counted {
    fn new(cx: Context<'_>, constraint: Constraint) -> Self {
        Counted { column: cx.snapshot.column(&constraint.topology_key), group: constraint.group(cx), constraint }
    }

    /// How many pods that count are on the node.
    fn on(&self, node: &NodeInfo) -> i64 {
        self.group.as_ref().map_or(0, |group| group.on(node.slot))
    }
}

/// Whether the node has a value for every constraint's label.
fn has_all_labels(node: &NodeInfo, all: &[Counted]) -> bool {
    all.iter().all(|c| c.column.of(node).is_some())
}

/// Calls `visit` with each constraint, its index, a place and a count, for all nodes whose pods count; a place comes with a count of zero
/// where no pods that count are there.
fn visit_counts(cx: Context<'_>, all: &[Counted], needs_all_labels: bool, visit: &mut dyn FnMut(usize, usize, i64)) {
    let nodes = |snapshot: &Snapshot| snapshot.len();
    let labelled = !needs_all_labels || all.len() == 1 || all.iter().all(|c| c.column.labelled() == nodes(cx.snapshot));
    if labelled && all.iter().all(|c| c.constraint.includes_all(cx.pod)) {
        for (index, counted) in all.iter().enumerate() {
            (0..counted.column.places())
                .filter(|p| counted.column.is_populated(*p))
                .for_each(|place| visit(index, place, 0));
            for (slot, count) in counted.group.iter().flat_map(|group| group.counts()) {
                if let Some(place) = counted.column.at(slot) {
                    visit(index, place, count);
                }
            }
        }
        return;
    }
    for node in cx.snapshot.nodes().filter(|node| !needs_all_labels || has_all_labels(node, all)) {
        for (index, counted) in all.iter().enumerate() {
            if let Some(place) = counted.column.of(node)
                && counted.constraint.includes(cx.pod, node)
            {
                visit(index, place, counted.on(node));
            }
        }
    }
}

impl PodTopologySpread {
    /// The constraints with that answer to `whenUnsatisfiable`, the pod's own or the default ones.
    fn constraints(&self, cx: Context<'_>, when_unsatisfiable: &str) -> Vec<Constraint> {
        let own = cx.pod.spec().and_then(|s| s.topology_spread_constraints.as_deref()).unwrap_or_default();
        let made = |all: &[TopologySpreadConstraint]| -> Vec<Constraint> {
            all.iter()
                .filter(|c| c.when_unsatisfiable == when_unsatisfiable)
                .map(|c| Constraint::new(c, cx.pod))
                .collect()
        };
        if !own.is_empty() {
            return made(own);
        }
        let mut constraints = made(&self.defaults);
        if constraints.is_empty() {
            return constraints;
        }
        match defaults::selector(cx) {
            None => Vec::new(),
            Some(selector) => {
                constraints.iter_mut().for_each(|c| c.selector = Some(selector.clone()));
                constraints
            }
        }
    }
}

impl Plugin for PodTopologySpread {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let constraints = self.constraints(cx, DO_NOT_SCHEDULE);
        if constraints.is_empty() { PreFilter::Skip } else { PreFilter::filter(filter::Filter::new(cx, constraints)) }
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let constraints = self.constraints(cx, SCHEDULE_ANYWAY);
        if constraints.is_empty() {
            return PreScore::Skip;
        }
        let own = cx.pod.spec().is_some_and(|s| s.topology_spread_constraints.as_ref().is_some_and(|c| !c.is_empty()));
        PreScore::score(score::Scorer::new(cx, constraints, feasible, own || !self.built_in_defaults))
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        let keys = || {
            pod.spec().into_iter().flat_map(|s| s.topology_spread_constraints.iter().flatten()).map(|c| &c.topology_key)
        };
        match event {
            ClusterEvent::AssignedPodAdded(other) | ClusterEvent::AssignedPodDeleted(other) => {
                other.namespace() == pod.namespace()
            }
            ClusterEvent::AssignedPodUpdated(_, other) => other.namespace() == pod.namespace(),
            ClusterEvent::NodeAdded(node) => {
                keys().all(|key| node.metadata.labels.as_ref().is_some_and(|l| l.contains_key(key)))
            }
            ClusterEvent::NodeUpdated(before, after) => {
                before.metadata.labels != after.metadata.labels || before.spec != after.spec
            }
            ClusterEvent::PodUpdated(..) => true,
            ClusterEvent::ClaimChanged { .. } | ClusterEvent::Other(_) => false,
        }
    }
}
