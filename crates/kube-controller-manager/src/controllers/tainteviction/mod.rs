//! Deletes pods that do not (or not for so long) tolerate a NoExecute taint of their node.

pub(super) mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{Node, Pod};
use component_helpers::{nodes, pods as helpers};
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Client, ResourceExt};

use self::plan::Verdict;
use crate::{context::Context, pods};

struct Evictor {
    client: Client,
    recorder: EventRecorder,
    pods: Store<Pod>,
    nodes: Store<Node>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let nodes = context.informer::<Node>();
    let informer = pods::indexed(context.informer::<Pod>());
    let on_pod = queue.clone();
    informer.on_event(move |event| {
        let pod = event.object();
        let bound = helpers::node_name(pod).is_some();
        let same = |old: &Pod| old.spec == pod.spec;
        if bound && !event.is_deleted() && !event.old().is_some_and(|old| same(old)) {
            on_pod.add(ObjectKey::of(pod.as_ref()));
        }
    });
    let (on_node, all) = (queue.clone(), informer.store().clone());
    nodes.on_event(move |event| {
        let node = event.object();
        if event.old().is_none_or(|old| nodes::node_taints(old) != nodes::node_taints(node)) {
            let bound = all.by_index(pods::BY_NODE, &node.name_any());
            bound.iter().for_each(|pod| on_node.add(ObjectKey::of(pod.as_ref())));
        }
    });
    let evictor = Arc::new(Evictor {
        client: context.client.clone(),
        recorder: context.recorder("taint-eviction-controller"),
        pods: informer.store().clone(),
        nodes: nodes.store().clone(),
    });
    context.run(&queue, move |key| evictor.clone().reconcile(key));
    Ok(())
}

impl Evictor {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(pod) = self.pods.get(&key) else { return Ok(Action::Done) };
        let Some(node) = helpers::node_name(&pod).and_then(|name| self.nodes.get(&ObjectKey::cluster(name))) else {
            return Ok(Action::Done);
        };
        match plan::verdict(&pod, nodes::node_taints(&node), component_base::clock::now()) {
            Verdict::Stay => Ok(Action::Done),
            Verdict::Later(seconds) => Ok(Action::RequeueAfter(Duration::from_secs(seconds))),
            Verdict::Evict => self.evict(&pod).await,
        }
    }

    async fn evict(&self, pod: &Pod) -> Outcome {
        let key = ObjectKey::of(pod);
        self.recorder.normal(pod, "TaintManagerEviction", format!("Marking for deletion Pod {key}"));
        let message = "Taint manager: deleting due to NoExecute taint";
        pods::disrupt(&self.client, pod, "DeletionByTaintManager", message).await?;
        Ok(Action::Done)
    }
}
