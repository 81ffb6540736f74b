//! Reads the stores, plans, writes.

use std::{collections::BTreeSet, sync::Arc};

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Service, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, EventRecorder, Expectations, ObjectKey, Outcome, Store};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use parking_lot::Mutex;

use super::{
    BY_SERVICE,
    hints::{self, Mode, Zones},
    members,
    plan::{self, Plan, Surroundings},
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
    /// Services whose endpoints are shared out among zones.
    pub(super) shared_out: Mutex<BTreeSet<ObjectKey>>,
}

impl Slices {
    pub(super) async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(service) = self.services.get(&key) else {
            // The garbage collector removes the slices with their owner.
            self.expectations.remove(&key);
            self.shared_out.lock().remove(&key);
            return Ok(Action::Done);
        };
        let Some(spec) = service.spec.as_ref().filter(|spec| members::has_members(spec)) else {
            return Ok(Action::Done);
        };
        if service.metadata.deletion_timestamp.is_some() || !self.expectations.satisfied(&key) {
            // What is expected to come brings the key again.
            return Ok(Action::Done);
        }
        let plan = self.plan(&key, &service, spec);
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

    fn plan(&self, key: &ObjectKey, service: &Service, spec: &ServiceSpec) -> Plan {
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        let mut members = self.pods.list_in(&key.namespace);
        members.retain(|pod| labels::map_selects(spec.selector.as_ref(), Some(pod.labels())));
        let is_auto = hints::mode(service) == Mode::Auto;
        let around = Surroundings {
            node: &|name| self.nodes.get(&ObjectKey::cluster(name)),
            zones: is_auto.then(|| Zones::of(&self.nodes.list())).flatten(),
            shared_out: self.shared_out.lock().contains(key),
            max: self.max_per_slice,
        };
        let mut plan = plan::plan(service, &members, &around, &slices);
        self.tell(key, service, &mut plan);
        plan
    }

    /// Remembers whether the endpoints are shared out among zones, and tells what changed about that.
    fn tell(&self, key: &ObjectKey, service: &Service, plan: &mut Plan) {
        match plan.shared_out {
            true => self.shared_out.lock().insert(key.clone()),
            false => self.shared_out.lock().remove(key),
        };
        for (warning, reason, message) in plan.notes.drain(..) {
            match warning {
                true => self.recorder.warning(service, reason, message),
                false => self.recorder.normal(service, reason, message),
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
