//! NodeName: a pod that names its node goes nowhere else.

use std::{borrow::Cow, sync::Arc};

use crate::{
    cache::NodeInfo,
    framework::{
        ClusterEvent, Code, Context, CycleState, Descriptor, NodeFilter, Plugin, Point, PreFilter, Refusal, Signature,
    },
};

pub(super) const DESCRIPTOR: Descriptor =
    Descriptor { name: "NodeName", points: &[Point::Filter], weight: 0, build: |_| Ok(Arc::new(NodeName)) };

const REFUSAL: Refusal =
    Refusal::fixed(Code::Unresolvable, &[Cow::Borrowed("node(s) didn't match the requested node name")]);

struct NodeName;

#[derive(Clone)]
struct Filter<'a>(&'a str);

impl Plugin for NodeName {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        cx.pod.node_name().map_or(PreFilter::Skip, |name| PreFilter::filter(Filter(name)))
    }

    fn hint(&self, _pod: &crate::cache::PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded(_))
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if node.name() == self.0 { Ok(()) } else { Err(REFUSAL) }
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(self.0);
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
