//! NodeUnschedulable: a cordoned node takes only pods that tolerate it.

use std::{borrow::Cow, sync::Arc};

use api_types::k8s_openapi::api::core::v1::Taint;
use component_helpers::{nodes, taints};

use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{
        ClusterEvent, Code, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter, Refusal, Signature,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodeUnschedulable",
    points: &[Point::Filter],
    weight: 0,
    build: |_| Ok(Arc::new(NodeUnschedulable)),
};

const REFUSAL: Refusal = Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) were unschedulable")]);

struct NodeUnschedulable;

#[derive(Clone)]
struct Filter;

impl Plugin for NodeUnschedulable {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let cordon =
            Taint { key: taints::UNSCHEDULABLE.to_owned(), effect: taints::NO_SCHEDULE.to_owned(), ..Taint::default() };
        let tolerations = cx.pod.spec().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
        if taints::tolerated(tolerations, &cordon) { PreFilter::Skip } else { PreFilter::filter(Filter) }
    }

    fn hint(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(node) => !nodes::is_unschedulable(node),
            ClusterEvent::NodeUpdated(before, after) => {
                nodes::is_unschedulable(before) && !nodes::is_unschedulable(after)
            }
            ClusterEvent::PodUpdated(..) => true,
            _ => false,
        }
    }
}

impl<'a> NodeFilter<'a> for Filter {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if nodes::is_unschedulable(&node.node) { Err(REFUSAL) } else { Ok(()) }
    }

    fn sign(&self, _signature: &mut Signature) -> bool {
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
