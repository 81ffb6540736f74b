//! Runs one pod of a DaemonSet on each node that it is for.

mod apply;
mod placement;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use component_helpers::{labels, nodes as helpers};
use controller_runtime::{BoxError, Expectations, WorkQueue};
use kube::ResourceExt;
use parking_lot::Mutex;

use crate::{
    context::Context,
    history::HistoryControl,
    pods::{self, PodControl},
};

const KIND: &str = "DaemonSet";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (queue, expectations) = (WorkQueue::new(), Expectations::default());
    let sets = context.informer::<DaemonSet>();
    let nodes = context.informer::<Node>();
    let informer = pods::indexed(context.informer::<Pod>());
    let revisions =
        context.informer::<ControllerRevision>().index(pods::BY_CONTROLLER, pods::by_controller::<ControllerRevision>);
    pods::watch_parents(&sets, &queue, &expectations);
    pods::watch_pods(&informer, sets.store(), KIND, &queue, &expectations, selects);
    let (all, on_node) = (sets.store().clone(), queue.clone());
    nodes.on_event(move |event| {
        let node = event.object();
        if event.is_deleted() || event.old().is_none_or(|old| placement_changed(old, node)) {
            all.keys().into_iter().for_each(|key| on_node.add(key));
        }
    });
    let on_revision = queue.clone();
    revisions.on_event(move |event| {
        if let Some((key, _)) = pods::parent_key(&event.object().metadata, KIND) {
            on_revision.add(key);
        }
    });
    let controller = Arc::new(apply::DaemonSets {
        control: PodControl { client: context.client.clone(), recorder: context.recorder("daemonset-controller") },
        history: HistoryControl { client: context.client.clone() },
        sets: sets.store().clone(),
        nodes: nodes.store().clone(),
        pods: informer.store().clone(),
        revisions: revisions.store().clone(),
        expectations,
        failures: Mutex::default(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

fn selects(set: &DaemonSet, pod: &Pod) -> bool {
    let selector = set.spec.as_ref().map(|s| &s.selector);
    !labels::is_empty(selector) && labels::selects(selector, Some(pod.labels()))
}

/// Whether a change of a node may change which pods run there.
fn placement_changed(old: &Node, new: &Node) -> bool {
    old.metadata.labels != new.metadata.labels
        || helpers::node_taints(old) != helpers::node_taints(new)
        || helpers::is_unschedulable(old) != helpers::is_unschedulable(new)
}
