//! Reads the stores, plans, writes: the status first, because finalizers may only go when what they guard is written.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use controller_runtime::{Action, BoxError, Expectations, ObjectKey, Outcome, Store, owner};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};

use super::{
    TRACKING, conditions, is_tracked, owner_is_gone,
    plan::{self, Plan},
};
use crate::pods::{self, PodControl};

const OUR_MANAGER: &str = "kubernetes.io/job-controller";

pub(super) struct Jobs {
    pub(super) control: PodControl,
    pub(super) jobs: Store<Job>,
    pub(super) pods: Store<Pod>,
    pub(super) expectations: Expectations,
}

impl Jobs {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(job) = self.jobs.get(&key) else {
            self.expectations.remove(&key);
            return Ok(Action::Done);
        };
        let manager = job.spec.as_ref().and_then(|s| s.managed_by.as_deref());
        if manager.is_some_and(|m| m != OUR_MANAGER) {
            return Ok(Action::Done);
        }
        if job.status.as_ref().is_some_and(conditions::is_finished) {
            return self.release_rest(&job).await;
        }
        let settled = self.expectations.satisfied(&key);
        let pods = self.claim(&job).await?;
        let plan = plan::plan(&job, &pods, settled, component_base::clock::now());
        let check_after = plan.check_after;
        match self.apply(&job, &key, plan).await {
            Ok(()) => {}
            Err(error) if pods::is_namespace_terminating(&error) => return Ok(Action::Done),
            Err(error) => return Err(error.into()),
        }
        Ok(check_after.map_or(Action::Done, |s| Action::RequeueAfter(Duration::from_secs(s.unsigned_abs()))))
    }

    fn api(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.control.client.clone(), namespace)
    }

    async fn claim(&self, job: &Job) -> Result<Vec<Arc<Pod>>, BoxError> {
        let namespace = job.namespace().unwrap_or_default();
        let found = pods::candidates(&self.pods, &job.metadata);
        let still_there = async { pods::still_there(&self.api(&namespace), &job.metadata).await };
        let matches = |pod: &Pod| super::selects(job, pod);
        let owner = owner::controller_ref(job);
        pods::claim(&self.control.api(&namespace), found, &job.metadata, owner, matches, still_there).await
    }

    async fn apply(&self, job: &Job, key: &ObjectKey, plan: Plan) -> Result<(), kube::Error> {
        let status = Some(plan.status);
        if job.status != status {
            let updated = Job { status, ..job.clone() };
            self.api(&key.namespace).replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        for told in plan.events {
            if told.warning {
                self.control.recorder.warning(job, &told.reason, told.message);
            } else {
                self.control.recorder.normal(job, &told.reason, told.message);
            }
        }
        let released = futures::future::join_all(plan.release.iter().map(|pod| self.release(pod))).await;
        released.into_iter().collect::<Result<Vec<()>, _>>()?;
        if !plan.create.is_empty() || !plan.delete.is_empty() {
            self.expectations.expect(key, plan.create.len(), plan.delete.iter().filter_map(|pod| pod.uid()));
        }
        self.control.delete_batch(job, &plan.delete, &self.expectations, key).await?;
        self.control.create_batch(job, &plan.create, &self.expectations, key).await
    }

    /// Removes the tracking finalizer.
    async fn release(&self, pod: &Pod) -> Result<(), kube::Error> {
        let left: Vec<_> = pod.finalizers().iter().filter(|f| *f != TRACKING).collect();
        let patch = serde_json::json!({
            "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version, "finalizers": left}
        });
        let api = self.control.api(&pod.namespace().unwrap_or_default());
        match api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    /// A finished job counts no more: pods that came late are let go.
    async fn release_rest(&self, job: &Job) -> Outcome {
        let own = self.pods.by_index(pods::BY_CONTROLLER, &job.uid().unwrap_or_default());
        for pod in own.iter().filter(|pod| is_tracked(pod)) {
            self.release(pod).await?;
        }
        Ok(Action::Done)
    }

    /// Lets a pod go whose job does not exist any more: nobody will count it.
    pub(super) async fn release_orphan(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(pod) = self.pods.get(&key).filter(|pod| is_tracked(pod) && owner_is_gone(&self.jobs, pod)) else {
            return Ok(Action::Done);
        };
        if let Some((job, uid)) = pods::parent_key(&pod.metadata, "Job") {
            // The informer may be behind.
            let fresh = self.api(&job.namespace).get_opt(&job.name).await?;
            if fresh.is_some_and(|job| job.uid().as_deref() == Some(uid.as_str())) {
                return Ok(Action::Done);
            }
        }
        self.release(&pod).await?;
        Ok(Action::Done)
    }
}
