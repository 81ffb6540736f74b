//! Reads the stores, plans, writes.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::Pod;
use component_helpers::pods as helpers;
use controller_runtime::{Action, BoxError, Expectations, ObjectKey, Outcome, Store, owner};
use kube::{Api, ResourceExt, api::PostParams};

use super::{
    Parent,
    plan::{self, Observed},
};
use crate::pods::{self, PodControl};

pub(super) struct Replicas<P> {
    pub(super) control: PodControl,
    pub(super) parents: Store<P>,
    pub(super) pods: Store<Pod>,
    pub(super) expectations: Expectations,
}

impl<P: Parent> Replicas<P> {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(parent) = self.parents.get(&key) else {
            self.expectations.remove(&key);
            return Ok(Action::Done);
        };
        // Before reading pods: what is expected must not be met by what comes in between.
        let settled = self.expectations.satisfied(&key);
        let owned = self.claim(&parent).await?;
        let failure = if settled && parent.meta().deletion_timestamp.is_none() {
            self.scale(&parent, &owned, &key).await.err()
        } else {
            None
        };
        let observed = Observed {
            status: &parent.status(),
            generation: parent.meta().generation,
            desired: parent.desired(),
            min_ready_seconds: parent.min_ready_seconds(),
            template: parent.template(),
            failure: failure.as_ref().map(pods::message),
        };
        let (status, next) = plan::status(&observed, &owned, component_base::clock::now());
        let updated = parent.with_status(status);
        if updated.status() != *observed.status {
            self.api(&key.namespace).replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        match (failure, next) {
            (Some(error), _) if pods::is_namespace_terminating(&error) => Ok(Action::Done),
            (Some(error), _) => Err(error.into()),
            (None, Some(seconds)) => Ok(Action::RequeueAfter(Duration::from_secs(seconds.unsigned_abs()))),
            (None, None) => Ok(Action::Done),
        }
    }

    fn api(&self, namespace: &str) -> Api<P> {
        Api::namespaced(self.control.client.clone(), namespace)
    }

    /// The pods of the parent that did not finish.
    async fn claim(&self, parent: &P) -> Result<Vec<Arc<Pod>>, BoxError> {
        let mut found = pods::candidates(&self.pods, parent.meta());
        found.retain(|pod| !helpers::is_terminal(pod));
        let namespace = parent.meta().namespace.as_deref().unwrap_or_default();
        let still_there = async { pods::still_there(&self.api(namespace), parent.meta()).await };
        let owner = owner::controller_ref(parent);
        let matches = |pod: &Pod| parent.selects(pod);
        pods::claim(&self.control.api(namespace), found, parent.meta(), owner, matches, still_there).await
    }

    async fn scale(&self, parent: &P, owned: &[Arc<Pod>], key: &ObjectKey) -> Result<(), kube::Error> {
        let active: Vec<_> = owned.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).cloned().collect();
        let neighbours = |node: &str| self.related_on(parent, node);
        let scale = plan::scale(&active, parent.desired(), neighbours, component_base::clock::now());
        let deletions = scale.delete.iter().filter_map(|pod| pod.uid());
        if scale.create > 0 || !scale.delete.is_empty() {
            self.expectations.expect(key, scale.create, deletions);
        }
        if let Some(template) = parent.template() {
            let pod = pods::from_template(template, &owner::controller_ref(parent), &key.namespace);
            let pods = vec![pod; scale.create];
            self.control.create_batch(parent, &pods, &self.expectations, key).await?;
        }
        self.control.delete_batch(parent, &scale.delete, &self.expectations, key).await
    }

    /// Active pods on a node that belong to the parent or to one with the same owner (ReplicaSets of one Deployment).
    fn related_on(&self, parent: &P, node: &str) -> usize {
        let siblings: Vec<_> = match owner::controller_uid(parent.meta()) {
            Some(uid) => self.parents.by_index(pods::BY_CONTROLLER, uid).iter().filter_map(|p| p.uid()).collect(),
            None => parent.uid().into_iter().collect(),
        };
        let here = self.pods.by_index(pods::BY_NODE, node);
        let related = |pod: &Pod| {
            owner::controller_uid(&pod.metadata).is_some_and(|uid| siblings.iter().any(|sibling| sibling == uid))
        };
        here.iter().filter(|pod| helpers::is_active(pod) && related(pod)).count()
    }
}
