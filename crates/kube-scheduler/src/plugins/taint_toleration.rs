//! TaintToleration: a node's taints keep pods away (`NoSchedule`, `NoExecute`) or make it the last choice (`PreferNoSchedule`).

use std::{borrow::Cow, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{Taint, Toleration};
use component_helpers::{nodes, taints};

use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{
        ClusterEvent, Code, Context, CycleState, Descriptor, Lack, NodeFilter, NodeScorer, Plugin, Point, PreFilter,
        PreScore, Refusal, Signature, normalize_by_highest,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "TaintToleration",
    points: &[Point::Filter, Point::PreScore, Point::Score],
    weight: 3,
    build: |_| Ok(Arc::new(TaintToleration)),
};

const REFUSAL: Refusal = Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) had untolerated taint(s)")]);

struct TaintToleration;

#[derive(Clone)]
struct Filter<'a>(&'a [Toleration]);

struct Scorer<'a>(Vec<&'a Toleration>);

fn tolerations(pod: &PodInfo) -> &[Toleration] {
    pod.spec().and_then(|s| s.tolerations.as_deref()).unwrap_or_default()
}

impl Plugin for TaintToleration {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        PreFilter::filter(Filter(tolerations(cx.pod)))
    }

    fn pre_score<'a>(&'a self, cx: Context<'a>, _feasible: &[&'a NodeInfo]) -> PreScore<'a> {
        let concerns = |t: &&Toleration| matches!(t.effect.as_deref(), None | Some("" | taints::PREFER_NO_SCHEDULE));
        PreScore::score(Scorer(tolerations(cx.pod).iter().filter(concerns).collect()))
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(node) => untolerated(nodes::node_taints(node), tolerations(pod)).is_none(),
            ClusterEvent::NodeUpdated(before, after) => {
                untolerated(nodes::node_taints(before), tolerations(pod)).is_some()
                    && untolerated(nodes::node_taints(after), tolerations(pod)).is_none()
            }
            ClusterEvent::PodUpdated(..) => true,
            _ => false,
        }
    }
}

fn untolerated<'a>(all: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints::find_untolerated(all, tolerations, &[taints::NO_SCHEDULE, taints::NO_EXECUTE])
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if untolerated(node.taints(), self.0).is_some() { Err(REFUSAL) } else { Ok(()) }
    }

    fn lacks(&self, node: &NodeInfo) -> Vec<Lack> {
        let taint = untolerated(node.taints(), self.0);
        let shown = |taint: &Taint| match taint.value.as_deref().unwrap_or_default() {
            "" => format!("{}:{}", taint.key, taint.effect),
            value => format!("{}={value}:{}", taint.key, taint.effect),
        };
        taint.map(|taint| Lack::whole("toleration".to_owned(), shown(taint), "none")).into_iter().collect()
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(self.0);
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl NodeScorer for Scorer<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let disliked = node.taints().iter().filter(|t| t.effect == taints::PREFER_NO_SCHEDULE);
        disliked.filter(|taint| !self.0.iter().any(|t| taints::tolerates(t, taint))).count() as i64
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(&self.0);
        true
    }

    fn normalize(&self, scores: &mut [i64], _nodes: &[&NodeInfo]) {
        normalize_by_highest(scores, true);
    }
}
