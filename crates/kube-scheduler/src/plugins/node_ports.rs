//! NodePorts: a pod goes where the host ports that it takes are free.

use std::{borrow::Cow, sync::Arc};

use component_helpers::ports::HostPort;

use crate::{
    cache::{NodeInfo, PodInfo},
    framework::{
        ClusterEvent, Code, Context, CycleState, Descriptor, Lack, NodeFilter, Plugin, Point, PreFilter, Refusal,
        Signature,
    },
};

pub(super) const DESCRIPTOR: Descriptor = Descriptor {
    name: "NodePorts",
    points: &[Point::PreFilter, Point::Filter],
    weight: 0,
    build: |_| Ok(Arc::new(NodePorts)),
};

const REFUSAL: Refusal =
    Refusal::fixed(Code::Unschedulable, &[Cow::Borrowed("node(s) didn't have free ports for the requested pod ports")]);

struct NodePorts;

#[derive(Clone)]
struct Filter<'a>(&'a [HostPort]);

impl Plugin for NodePorts {
    fn pre_filter<'a>(&'a self, cx: Context<'a>, _state: &mut CycleState) -> PreFilter<'a> {
        let wanted = cx.pod.host_ports.as_slice();
        if wanted.is_empty() { PreFilter::Skip } else { PreFilter::filter(Filter(wanted)) }
    }

    fn hint(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) | ClusterEvent::NodeUpdated(..) => true,
            ClusterEvent::AssignedPodDeleted(gone) => {
                gone.host_ports.iter().any(|p| pod.host_ports.iter().any(|w| w.conflicts(p)))
            }
            _ => false,
        }
    }
}

impl<'a> NodeFilter<'a> for Filter<'a> {
    fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let mut taken = node.pods.iter().flat_map(|p| &p.host_ports);
        if taken.any(|port| self.0.iter().any(|wanted| wanted.conflicts(port))) { Err(REFUSAL) } else { Ok(()) }
    }

    fn lacks(&self, node: &NodeInfo) -> Vec<Lack> {
        let taken = |wanted: &HostPort| {
            let by = node.pods.iter().find(|pod| pod.host_ports.iter().any(|port| wanted.conflicts(port)))?;
            let what = format!("port {}/{}", wanted.port, wanted.protocol);
            Some(Lack::whole(what, "free", format!("taken by {}", by.key)))
        };
        self.0.iter().filter_map(taken).collect()
    }

    fn sign(&self, signature: &mut Signature) -> bool {
        signature.add(self.0);
        true
    }

    fn boxed(&self) -> Box<dyn NodeFilter<'a> + 'a> {
        Box::new(self.clone())
    }
}
