//! Runs the pods of Jobs to completion.
//!
//! Finished pods are counted once, whatever crashes in between (KEP-2307): pods carry a finalizer; a finished pod's uid is written to
//! `status.uncountedTerminatedPods`, then its finalizer is removed, and only when the informer shows that, the uid becomes a
//! number. Each reconcile does all three for whatever is at that stage.

mod apply;
mod conditions;
mod indexes;
mod plan;
mod policy;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use component_helpers::labels;
use controller_runtime::{BoxError, Expectations, ObjectKey, WorkQueue, owner};
use kube::ResourceExt;

use crate::{
    context::Context,
    pods::{self, PodControl},
};

/// The finalizer of pods that were not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (queue, orphans, expectations) = (WorkQueue::new(), WorkQueue::new(), Expectations::default());
    let jobs = context.informer::<Job>();
    let informer = pods::indexed(context.informer::<Pod>());
    pods::watch_parents(&jobs, &queue, &expectations);
    pods::watch_pods(&informer, jobs.store(), "Job", &queue, &expectations, selects);
    let (known, on_pod) = (jobs.store().clone(), orphans.clone());
    informer.on_event(move |event| {
        let pod = event.object();
        if !event.is_deleted() && is_tracked(pod) && owner_is_gone(&known, pod) {
            on_pod.add(ObjectKey::of(pod.as_ref()));
        }
    });
    let (store, on_job) = (informer.store().clone(), orphans.clone());
    jobs.on_event(move |event| {
        if let (true, Some(uid)) = (event.is_deleted(), event.object().uid()) {
            let left = store.by_index(pods::BY_CONTROLLER, &uid);
            left.iter().filter(|pod| is_tracked(pod)).for_each(|pod| on_job.add(ObjectKey::of(pod.as_ref())));
        }
    });
    let controller = Arc::new(apply::Jobs {
        control: PodControl { client: context.client.clone(), recorder: context.recorder("job-controller") },
        jobs: jobs.store().clone(),
        pods: informer.store().clone(),
        expectations,
    });
    // The informers of both queues are the same: the second run need not wait again, a stale look only costs a request.
    let releaser = controller.clone();
    context.run(&queue, move |key| controller.clone().reconcile(key));
    context.run(&orphans, move |key| releaser.clone().release_orphan(key));
    Ok(())
}

fn selects(job: &Job, pod: &Pod) -> bool {
    let selector = job.spec.as_ref().and_then(|s| s.selector.as_ref());
    !labels::is_empty(selector) && labels::selects(selector, Some(pod.labels()))
}

fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|f| f == TRACKING)
}

/// Whether no known job is the pod's controller.
fn owner_is_gone(jobs: &controller_runtime::Store<Job>, pod: &Pod) -> bool {
    let Some((key, uid)) = pods::parent_key(&pod.metadata, "Job") else {
        return owner::controller_of(&pod.metadata).is_none();
    };
    jobs.get(&key).is_none_or(|job| job.uid().as_deref() != Some(uid.as_str()))
}
