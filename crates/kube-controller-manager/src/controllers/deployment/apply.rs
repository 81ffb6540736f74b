//! Reads the stores, plans, writes.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use component_helpers::{labels, pods as helpers};
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, owner};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::plan::{self, Plan};
use crate::pods;

pub(super) struct Deployments {
    pub(super) client: Client,
    pub(super) recorder: EventRecorder,
    pub(super) deployments: Store<Deployment>,
    pub(super) sets: Store<ReplicaSet>,
    pub(super) pods: Store<Pod>,
}

impl Deployments {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(deployment) = self.deployments.get(&key) else { return Ok(Action::Done) };
        if labels::is_empty(deployment.spec.as_ref().map(|s| &s.selector)) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(deployment.as_ref(), "SelectingAll", message);
            return Ok(Action::Done);
        }
        let sets: Vec<_> = self.claim(&deployment).await?.iter().map(|set| set.as_ref().clone()).collect();
        let running =
            |uid: &str| self.pods.by_index(pods::BY_CONTROLLER, uid).iter().any(|pod| !helpers::is_terminal(pod));
        let plan = plan::plan(&deployment, &sets, running, component_base::clock::now());
        let check_after = plan.check_after;
        self.apply(&deployment, plan).await?;
        Ok(check_after.map_or(Action::Done, |s| Action::RequeueAfter(Duration::from_secs(s.unsigned_abs()))))
    }

    fn sets_api(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default())
    }

    fn api(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default())
    }

    async fn claim(&self, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, BoxError> {
        let found = pods::candidates(&self.sets, &deployment.metadata);
        let still_there = async { pods::still_there(&self.api(deployment), &deployment.metadata).await };
        let owner = owner::controller_ref(deployment);
        let matches = |set: &ReplicaSet| super::selects(deployment, set);
        pods::claim(&self.sets_api(deployment), found, &deployment.metadata, owner, matches, still_there).await
    }

    async fn apply(&self, deployment: &Deployment, plan: Plan) -> Result<(), BoxError> {
        let sets = self.sets_api(deployment);
        if let Some(set) = &plan.create
            && !self.create(deployment, &sets, set).await?
        {
            return Ok(());
        }
        for set in &plan.update {
            sets.replace(&set.name_any(), &PostParams::default(), set).await?;
        }
        for message in &plan.events {
            self.recorder.normal(deployment, "ScalingReplicaSet", message.as_str());
        }
        let renamed = self.write_revision(deployment, plan.revision.as_deref()).await?;
        for set in &plan.delete {
            delete(&sets, set).await?;
        }
        let latest = renamed.as_ref().unwrap_or(deployment);
        if latest.status.as_ref() == Some(&plan.status) {
            return Ok(());
        }
        let updated = Deployment { status: Some(plan.status), ..latest.clone() };
        self.api(deployment).replace_status(&deployment.name_any(), &PostParams::default(), &updated).await?;
        Ok(())
    }

    /// An update, not a patch: that is what upstream's role allows.
    async fn write_revision(
        &self,
        deployment: &Deployment,
        revision: Option<&str>,
    ) -> Result<Option<Deployment>, BoxError> {
        let Some(revision) = revision else { return Ok(None) };
        let mut updated = deployment.clone();
        updated.annotations_mut().insert(plan::REVISION.to_owned(), revision.to_owned());
        let api = self.api(deployment);
        Ok(Some(api.replace(&deployment.name_any(), &PostParams::default(), &updated).await?))
    }

    /// Creates the new ReplicaSet; false when its name was taken by another template: the next hash counts the collision.
    async fn create(
        &self,
        deployment: &Deployment,
        sets: &Api<ReplicaSet>,
        set: &ReplicaSet,
    ) -> Result<bool, BoxError> {
        match sets.create(&PostParams::default(), set).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let existing = sets.get(&set.name_any()).await?;
                let template = deployment.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
                let ours = owner::is_controlled_by(&existing.metadata, &deployment.uid().unwrap_or_default());
                if ours && plan::same_template(&existing, &template) {
                    return Ok(true);
                }
                let mut status = deployment.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
                let updated = Deployment { status: Some(status), ..deployment.clone() };
                self.api(deployment).replace_status(&deployment.name_any(), &PostParams::default(), &updated).await?;
                Ok(false)
            }
            Err(error) if pods::is_namespace_terminating(&error) => Ok(false),
            Err(error) => {
                let message =
                    format!("Failed to create new replica set \"{}\": {}", set.name_any(), pods::message(&error));
                self.recorder.warning(deployment, "ReplicaSetCreateError", message);
                Err(error.into())
            }
        }
    }
}

async fn delete(sets: &Api<ReplicaSet>, set: &ReplicaSet) -> Result<(), BoxError> {
    let preconditions = Preconditions { uid: set.uid(), resource_version: set.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match sets.delete(&set.name_any(), &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(drop).map_err(Into::into),
    }
}
