//! Reads the stores, plans, writes.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, EventRecorder, Expectations, ObjectKey, Outcome, Store};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::{
    BY_SERVICE, members,
    plan::{self, Plan},
};
use crate::pods;

pub(super) struct Slices {
    pub(super) client: Client,
    pub(super) recorder: EventRecorder,
    pub(super) services: Store<Service>,
    pub(super) pods: Store<Pod>,
    pub(super) nodes: Store<Node>,
    pub(super) slices: Store<EndpointSlice>,
    pub(super) expectations: Expectations,
    pub(super) max_per_slice: usize,
}

impl Slices {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(service) = self.services.get(&key) else {
            // The garbage collector removes the slices with their owner.
            self.expectations.remove(&key);
            return Ok(Action::Done);
        };
        let Some(spec) = service.spec.as_ref().filter(|spec| members::has_members(spec)) else {
            return Ok(Action::Done);
        };
        if service.metadata.deletion_timestamp.is_some() || !self.expectations.satisfied(&key) {
            // What is expected to come brings the key again.
            return Ok(Action::Done);
        }
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let mut members = self.pods.list_in(&key.namespace);
        members.retain(|pod| labels::map_selects(spec.selector.as_ref(), Some(pod.labels())));
        let node = |name: &str| self.nodes.get(&ObjectKey::cluster(name));
        let plan = plan::plan(&service, &members, node, &slices, self.max_per_slice);
        if plan.is_empty() {
            return Ok(Action::Done);
        }
        match self.apply(&key, plan).await {
            Ok(()) => Ok(Action::Done),
            Err(error) if pods::is_namespace_terminating(&error) => Ok(Action::Done),
            Err(error) => {
                if !matches!(&error, kube::Error::Api(status) if status.is_conflict()) {
                    let message =
                        format!("Error updating Endpoint Slices for Service {key}: {}", pods::message(&error));
                    self.recorder.warning(service.as_ref(), "FailedToUpdateEndpointSlices", message);
                }
                Err(BoxError::from(error))
            }
        }
    }

    async fn apply(&self, key: &ObjectKey, plan: Plan) -> Result<(), kube::Error> {
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        for slice in &plan.create {
            self.expectations.expect(key, 1, []);
            if let Err(error) = api.create(&PostParams::default(), slice).await {
                self.expectations.creation_observed(key);
                return Err(error);
            }
        }
        for slice in &plan.update {
            api.replace(&slice.name_any(), &PostParams::default(), slice).await?;
        }
        for slice in &plan.delete {
            let uid = slice.uid().unwrap_or_default();
            self.expectations.expect(key, 0, [uid.clone()]);
            if let Err(error) = api.delete(&slice.name_any(), &DeleteParams::default()).await {
                self.expectations.deletion_observed(key, &uid);
                if !matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}
