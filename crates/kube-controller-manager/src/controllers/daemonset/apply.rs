//! Reads the stores, plans, writes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, Expectations, ObjectKey, Outcome, Store, backoff::Backoff, owner};
use kube::{Api, ResourceExt, api::PostParams};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    placement,
    plan::{self, Plan, View},
    status,
};
use crate::{
    history::{self, HistoryControl},
    pods::{self, PodControl},
};

pub(super) struct DaemonSets {
    pub(super) control: PodControl,
    pub(super) history: HistoryControl,
    pub(super) sets: Store<DaemonSet>,
    pub(super) nodes: Store<Node>,
    pub(super) pods: Store<Pod>,
    pub(super) revisions: Store<ControllerRevision>,
    pub(super) expectations: Expectations,
    /// When finished pods may be replaced, by set and node.
    pub(super) failures: Mutex<BTreeMap<(ObjectKey, String), (Backoff, Instant)>>,
}

impl DaemonSets {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(set) = self.sets.get(&key) else {
            self.expectations.remove(&key);
            self.failures.lock().retain(|(of, _), _| *of != key);
            return Ok(Action::Done);
        };
        if labels::is_empty(set.spec.as_ref().map(|s| &s.selector)) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.recorder.warning(set.as_ref(), "SelectingAll", message);
            return Ok(Action::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let settled = self.expectations.satisfied(&key);
        let (pods, revisions) = (self.claim(&set).await?, self.own_revisions(&set));
        let Some(newest) = self.newest(&set, &revisions).await? else { return self.count_collision(&set).await };
        let (hash, nodes, now) = (history::hash_of(&newest), self.nodes.list(), component_base::clock::now());
        let view = View::new(&set, &nodes, &pods, &hash, now);
        let mut after = None;
        if settled {
            after = self.apply(&set, &key, plan::plan(&view), &hash).await?;
            self.clean_up(&set, &revisions, &newest, &pods).await?;
        }
        let (status, next) = status::status(&view);
        if set.status.as_ref() != Some(&status) {
            let updated = DaemonSet { status: Some(status), ..set.as_ref().clone() };
            self.api(&key.namespace).replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        let next = next.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        Ok([after, next].into_iter().flatten().min().map_or(Action::Done, Action::RequeueAfter))
    }

    fn api(&self, namespace: &str) -> Api<DaemonSet> {
        Api::namespaced(self.control.client.clone(), namespace)
    }

    async fn claim(&self, set: &DaemonSet) -> Result<Vec<Arc<Pod>>, BoxError> {
        let namespace = set.namespace().unwrap_or_default();
        let found = pods::candidates(&self.pods, &set.metadata);
        let still_there = async { pods::still_there(&self.api(&namespace), &set.metadata).await };
        let matches = |pod: &Pod| super::selects(set, pod);
        let owner = owner::controller_ref(set);
        pods::claim(&self.control.api(&namespace), found, &set.metadata, owner, matches, still_there).await
    }

    fn own_revisions(&self, set: &DaemonSet) -> Vec<Arc<ControllerRevision>> {
        let mut revisions = self.revisions.by_index(pods::BY_CONTROLLER, &set.uid().unwrap_or_default());
        history::sort(&mut revisions);
        revisions
    }

    async fn newest(
        &self,
        set: &DaemonSet,
        known: &[Arc<ControllerRevision>],
    ) -> Result<Option<Arc<ControllerRevision>>, BoxError> {
        let (namespace, owner) = (set.namespace().unwrap_or_default(), owner::controller_ref(set));
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        self.history.apply(&namespace, history::plan(&owner, &namespace, &template, known, collisions)).await
    }

    async fn count_collision(&self, set: &DaemonSet) -> Outcome {
        let mut updated = set.clone();
        *updated.status.get_or_insert_default().collision_count.get_or_insert(0) += 1;
        let api = self.api(&set.namespace().unwrap_or_default());
        api.replace_status(&set.name_any(), &PostParams::default(), &updated).await?;
        Ok(Action::Done)
    }

    async fn clean_up(
        &self,
        set: &DaemonSet,
        revisions: &[Arc<ControllerRevision>],
        newest: &ControllerRevision,
        pods: &[Arc<Pod>],
    ) -> Result<(), BoxError> {
        let used = |revision: &ControllerRevision| {
            let hash = history::hash_of(revision);
            revision.uid() == newest.uid()
                || pods.iter().any(|pod| pod.labels().get(history::HASH_LABEL) == Some(&hash))
        };
        let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
        let old = history::superfluous(revisions, used, limit);
        self.history.delete(&set.namespace().unwrap_or_default(), &old).await
    }

    /// Creates and deletes; returns when finished pods whose back-off runs can be replaced.
    async fn apply(
        &self,
        set: &DaemonSet,
        key: &ObjectKey,
        mut plan: Plan,
        hash: &str,
    ) -> Result<Option<Duration>, BoxError> {
        let mut after: Option<Duration> = None;
        for pod in std::mem::take(&mut plan.finished) {
            match self.wait_for(key, &pod) {
                Some(wait) => after = Some(after.map_or(wait, |other| other.min(wait))),
                None => {
                    self.tell_finished(set, &pod);
                    plan.delete.push(pod);
                }
            }
        }
        if !plan.create.is_empty() || !plan.delete.is_empty() {
            self.expectations.expect(key, plan.create.len(), plan.delete.iter().filter_map(|pod| pod.uid()));
        }
        let pods: Vec<_> = plan.create.iter().filter_map(|node| placement::pod(set, node, hash)).collect();
        let created = self.control.create_batch(set, &pods, &self.expectations, key).await;
        self.control.delete_batch(set, &plan.delete, &self.expectations, key).await?;
        match created {
            Err(error) if pods::is_namespace_terminating(&error) => Ok(None),
            result => result.map(|()| after).map_err(Into::into),
        }
    }

    /// How long a finished pod has to stay before it is replaced: 1 s, doubled each time up to 15 minutes.
    fn wait_for(&self, key: &ObjectKey, pod: &Pod) -> Option<Duration> {
        let node = placement::target(pod).unwrap_or_default();
        let mut failures = self.failures.lock();
        let now = Instant::now();
        let fresh = || (Backoff::new(Duration::from_secs(1), Duration::from_secs(900), 0.0), now);
        let (backoff, allowed_at) = failures.entry((key.clone(), node)).or_insert_with(fresh);
        if now < *allowed_at {
            return Some(*allowed_at - now);
        }
        *allowed_at = now + backoff.next_delay();
        None
    }

    fn tell_finished(&self, set: &DaemonSet, pod: &Pod) {
        let (name, node) = (ObjectKey::of(pod), placement::target(pod).unwrap_or_default());
        if component_helpers::pods::phase(pod) == "Failed" {
            let message = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
            self.control.recorder.warning(set, "FailedDaemonPod", message);
        } else {
            let message = format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
            self.control.recorder.normal(set, "SucceededDaemonPod", message);
        }
    }
}
