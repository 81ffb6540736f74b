//! Runs the pods of a StatefulSet: each with its own name and claims, one after the other where asked.

mod apply;
mod claims;
mod identity;
mod plan;
mod retention;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use component_helpers::labels;
use controller_runtime::{BoxError, Event, Expectations, ObjectKey, SharedInformer, WorkQueue};
use kube::ResourceExt;

use crate::{
    context::Context,
    history::HistoryControl,
    pods::{self, PodControl},
};

const KIND: &str = "StatefulSet";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (queue, expectations) = (WorkQueue::new(), Expectations::default());
    let sets = context.informer::<StatefulSet>();
    let informer = pods::indexed(context.informer::<Pod>());
    let claims = context.informer::<PersistentVolumeClaim>();
    let revisions =
        context.informer::<ControllerRevision>().index(pods::BY_CONTROLLER, pods::by_controller::<ControllerRevision>);
    pods::watch_parents(&sets, &queue, &expectations);
    pods::watch_pods(&informer, sets.store(), KIND, &queue, &expectations, selects);
    let on_revision = queue.clone();
    revisions.on_event(move |event| {
        if let Some((key, _)) = pods::parent_key(&event.object().metadata, KIND) {
            on_revision.add(key);
        }
    });
    watch_claims(&claims, &queue);
    let controller = Arc::new(apply::StatefulSets {
        control: PodControl { client: context.client.clone(), recorder: context.recorder("statefulset-controller") },
        history: HistoryControl { client: context.client.clone() },
        sets: sets.store().clone(),
        pods: informer.store().clone(),
        claims: claims.store().clone(),
        revisions: revisions.store().clone(),
        expectations,
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

/// A claim that went with its pod may hold the next pod of the ordinal up.
fn watch_claims(claims: &SharedInformer<PersistentVolumeClaim>, queue: &WorkQueue<ObjectKey>) {
    let queue = queue.clone();
    claims.on_event(move |event| {
        let (Event::Deleted(claim), Some(namespace)) = (event, event.object().namespace()) else { return };
        for owner in claim.owner_references().iter().filter(|owner| owner.kind == "Pod") {
            if let Some((set, _)) = owner.name.rsplit_once('-') {
                queue.add(ObjectKey::new(&namespace, set));
            }
        }
    });
}

/// The selector and the name must both be the set's.
fn selects(set: &StatefulSet, pod: &Pod) -> bool {
    let selector = set.spec.as_ref().map(|s| &s.selector);
    let named = identity::ordinal(&set.name_any(), &pod.name_any()).is_some();
    named && !labels::is_empty(selector) && labels::selects(selector, Some(pod.labels()))
}
