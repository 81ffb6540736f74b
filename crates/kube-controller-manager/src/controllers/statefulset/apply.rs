//! Reads the stores, plans, writes.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, Expectations, ObjectKey, Outcome, Store, owner};
use kube::{Api, ResourceExt, api::PostParams};

use super::{
    identity,
    plan::{self, Plan, Revisions},
};
use crate::{
    history::{self, HistoryControl},
    pods::{self, PodControl},
};

pub(super) struct StatefulSets {
    pub(super) control: PodControl,
    pub(super) history: HistoryControl,
    pub(super) sets: Store<StatefulSet>,
    pub(super) pods: Store<Pod>,
    pub(super) claims: Store<PersistentVolumeClaim>,
    pub(super) revisions: Store<ControllerRevision>,
    pub(super) expectations: Expectations,
}

impl StatefulSets {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(set) = self.sets.get(&key) else {
            self.expectations.remove(&key);
            return Ok(Action::Done);
        };
        if labels::is_empty(set.spec.as_ref().map(|s| &s.selector)) {
            return Ok(Action::Done);
        }
        let settled = self.expectations.satisfied(&key);
        let pods = self.claim(&set).await?;
        let mut revisions = self.revisions.by_index(pods::BY_CONTROLLER, &set.uid().unwrap_or_default());
        history::sort(&mut revisions);
        let Some(update) = self.newest(&set, &revisions).await? else { return self.count_collision(&set).await };
        let known = set.status.as_ref().and_then(|s| s.current_revision.clone()).unwrap_or_default();
        let current = revisions.iter().find(|r| r.name_any() == known).unwrap_or(&update).clone();
        let names = (current.name_any(), update.name_any());
        let plan =
            plan::plan(&set, &pods, &Revisions { current: &names.0, update: &names.1 }, component_base::clock::now());
        let (status, check_after) = (Some(plan.status.clone()), plan.check_after);
        if settled {
            self.apply(&set, &key, plan, &pods, (&current, &update)).await?;
            self.clean_up(&set, &revisions, &names, &pods).await?;
        }
        if set.status != status {
            let updated = StatefulSet { status, ..set.as_ref().clone() };
            self.api(&key.namespace).replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        Ok(check_after.map_or(Action::Done, |s| Action::RequeueAfter(Duration::from_secs(s.unsigned_abs()))))
    }

    fn api(&self, namespace: &str) -> Api<StatefulSet> {
        Api::namespaced(self.control.client.clone(), namespace)
    }

    async fn claim(&self, set: &StatefulSet) -> Result<Vec<Arc<Pod>>, BoxError> {
        let namespace = set.namespace().unwrap_or_default();
        let found = pods::candidates(&self.pods, &set.metadata);
        let still_there = async { pods::still_there(&self.api(&namespace), &set.metadata).await };
        let matches = |pod: &Pod| super::selects(set, pod);
        let owner = owner::controller_ref(set);
        pods::claim(&self.control.api(&namespace), found, &set.metadata, owner, matches, still_there).await
    }

    async fn newest(
        &self,
        set: &StatefulSet,
        known: &[Arc<ControllerRevision>],
    ) -> Result<Option<Arc<ControllerRevision>>, BoxError> {
        let (namespace, owner) = (set.namespace().unwrap_or_default(), owner::controller_ref(set));
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count).filter(|n| *n > 0);
        self.history.apply(&namespace, history::plan(&owner, &namespace, &template, known, collisions)).await
    }

    async fn count_collision(&self, set: &StatefulSet) -> Outcome {
        let mut updated = set.clone();
        *updated.status.get_or_insert_default().collision_count.get_or_insert(0) += 1;
        let api = self.api(&set.namespace().unwrap_or_default());
        api.replace_status(&set.name_any(), &PostParams::default(), &updated).await?;
        Ok(Action::Done)
    }

    async fn clean_up(
        &self,
        set: &StatefulSet,
        revisions: &[Arc<ControllerRevision>],
        names: &(String, String),
        pods: &[Arc<Pod>],
    ) -> Result<(), BoxError> {
        let used = |revision: &ControllerRevision| {
            let name = revision.name_any();
            name == names.0 || name == names.1 || pods.iter().any(|pod| identity::revision(pod) == name)
        };
        let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
        let old = history::superfluous(revisions, used, limit);
        self.history.delete(&set.namespace().unwrap_or_default(), &old).await
    }

    async fn apply(
        &self,
        set: &StatefulSet,
        key: &ObjectKey,
        plan: Plan,
        pods: &[Arc<Pod>],
        (current, update): (&ControllerRevision, &ControllerRevision),
    ) -> Result<(), BoxError> {
        for name in &plan.recreated {
            let message = format!("StatefulSet {key} is recreating failed Pod {name}");
            self.control.recorder.warning(set, "RecreatingFailedPod", message);
        }
        self.keep_owners(set, key, pods).await?;
        for (ordinal, from_update) in plan.create {
            if self.awaits_claims(set, key, ordinal) {
                continue;
            }
            let revision = if from_update { update } else { current };
            match self.create(set, key, ordinal, revision).await {
                Err(error) if pods::is_namespace_terminating(&error) => return Ok(()),
                result => result?,
            }
        }
        for pod in plan.delete {
            self.delete(set, key, &pod).await?;
        }
        Ok(())
    }

    async fn create(
        &self,
        set: &StatefulSet,
        key: &ObjectKey,
        ordinal: i32,
        revision: &ControllerRevision,
    ) -> Result<(), kube::Error> {
        let (name, pod_name) = (set.name_any(), identity::pod_name(set, ordinal));
        self.create_claims(set, key, ordinal).await?;
        let template = history::template(revision).unwrap_or_default();
        let pod = identity::pod(set, &template, ordinal, &revision.name_any());
        self.expectations.expect(key, 1, []);
        let recorder = &self.control.recorder;
        match self.control.api(&key.namespace).create(&PostParams::default(), &pod).await {
            Ok(_) => {
                let message = format!("create Pod {pod_name} in StatefulSet {name} successful");
                recorder.normal(set, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.creation_observed(key);
                if matches!(&error, kube::Error::Api(status) if status.is_already_exists()) {
                    return Ok(());
                }
                if !pods::is_namespace_terminating(&error) {
                    let error = pods::message(&error);
                    let message = format!("create Pod {pod_name} in StatefulSet {name} failed error: {error}");
                    recorder.warning(set, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &StatefulSet, key: &ObjectKey, pod: &Pod) -> Result<(), kube::Error> {
        let uid = pod.uid().unwrap_or_default();
        self.expectations.expect(key, 0, [uid.clone()]);
        let (name, pod_name, recorder) = (set.name_any(), pod.name_any(), &self.control.recorder);
        match self.control.delete_quietly(pod).await {
            Ok(()) => {
                let message = format!("delete Pod {pod_name} in StatefulSet {name} successful");
                recorder.normal(set, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(key, &uid);
                let message =
                    format!("delete Pod {pod_name} in StatefulSet {name} failed error: {}", pods::message(&error));
                recorder.warning(set, "FailedDelete", message);
                Err(error)
            }
        }
    }
}
