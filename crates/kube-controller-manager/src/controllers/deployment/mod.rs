//! Rolls a Deployment's template out over ReplicaSets.
//!
//! One reconcile is one step of the roll-out: the plan works on copies of the ReplicaSets, and what differs afterwards is written.
//! The next step comes with the events that the writes cause.

mod apply;
mod plan;
mod rolling;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use component_helpers::labels;
use controller_runtime::{BoxError, Event, ObjectKey, SharedInformer, Store, WorkQueue, owner};
use kube::ResourceExt;

use crate::{context::Context, pods};

pub(crate) use plan::resolve;

const KIND: &str = "Deployment";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let deployments = context.informer::<Deployment>();
    let sets = context.informer::<ReplicaSet>().index(pods::BY_CONTROLLER, pods::by_controller::<ReplicaSet>);
    let informer = pods::indexed(context.informer::<Pod>());
    deployments.enqueue_to(&queue);
    watch_sets(&sets, deployments.store(), &queue);
    let (on_pod, all_sets) = (queue.clone(), sets.store().clone());
    informer.on_event(move |event| {
        // Only Recreate waits for pods; the reconcile finds out whether this is one.
        if let (Event::Deleted(pod), Some(key)) = (event, deployment_of_pod(&all_sets, event.object())) {
            tracing::trace!(pod = %pod.name_any(), "pod gone");
            on_pod.add(key);
        }
    });
    let controller = Arc::new(apply::Deployments {
        client: context.client.clone(),
        recorder: context.recorder("deployment-controller"),
        deployments: deployments.store().clone(),
        sets: sets.store().clone(),
        pods: informer.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

fn deployment_of_pod(sets: &Store<ReplicaSet>, pod: &Pod) -> Option<ObjectKey> {
    let (set, _) = pods::parent_key(&pod.metadata, "ReplicaSet")?;
    let set = sets.get(&set)?;
    pods::parent_key(&set.metadata, KIND).map(|(key, _)| key)
}

/// Whether the deployment's selector selects a ReplicaSet.
fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let selector = deployment.spec.as_ref().map(|s| &s.selector);
    !labels::is_empty(selector) && labels::selects(selector, Some(set.labels()))
}

fn watch_sets(sets: &SharedInformer<ReplicaSet>, deployments: &Store<Deployment>, queue: &WorkQueue<ObjectKey>) {
    let (deployments, queue) = (deployments.clone(), queue.clone());
    sets.on_event(move |event| {
        let set = event.object();
        for set in std::iter::once(set).chain(event.old()) {
            if let Some((key, _)) = pods::parent_key(&set.metadata, KIND) {
                queue.add(key);
            }
        }
        if owner::controller_of(&set.metadata).is_none() && !event.is_deleted() {
            let namespace = set.namespace().unwrap_or_default();
            let adopters = deployments.list_in(&namespace).into_iter().filter(|d| selects(d, set));
            adopters.for_each(|d| queue.add(ObjectKey::of(d.as_ref())));
        }
    });
}
