//! Mirrors Endpoints that users wrote (for Services without a selector) into EndpointSlices, which is what proxies read.

mod plan;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Endpoints, Service},
    discovery::v1::EndpointSlice,
};
use controller_runtime::{Action, BoxError, Event, Expectations, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::endpointslice::{MANAGED_BY, SERVICE_NAME};
use crate::{context::Context, pods};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const BY_MIRRORED: &str = "mirrored";

struct Mirror {
    client: Client,
    endpoints: Store<Endpoints>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    expectations: Expectations,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (queue, expectations) = (WorkQueue::new(), Expectations::default());
    let endpoints = context.informer::<Endpoints>();
    let services = context.informer::<Service>();
    let slices = context.informer::<EndpointSlice>().index(BY_MIRRORED, by_mirrored);
    endpoints.enqueue_to(&queue);
    services.enqueue_to(&queue);
    let (on_slice, seen) = (queue.clone(), expectations.clone());
    slices.on_event(move |event| {
        let Some(key) = mirrored(event.object()) else { return };
        match event {
            Event::Added(_) => seen.creation_observed(&key),
            Event::Deleted(slice) => seen.deletion_observed(&key, &slice.uid().unwrap_or_default()),
            Event::Updated { .. } => {}
        }
        on_slice.add(key);
    });
    let mirror = Arc::new(Mirror {
        client: context.client.clone(),
        endpoints: endpoints.store().clone(),
        services: services.store().clone(),
        slices: slices.store().clone(),
        expectations,
    });
    context.run(&queue, move |key| mirror.clone().reconcile(key));
    Ok(())
}

fn mirrored(slice: &EndpointSlice) -> Option<ObjectKey> {
    let ours = slice.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let name = slice.labels().get(SERVICE_NAME).filter(|_| ours)?;
    Some(ObjectKey::new(slice.namespace().unwrap_or_default(), name.clone()))
}

fn by_mirrored(slice: &EndpointSlice) -> Vec<String> {
    mirrored(slice).map(|key| key.to_string()).into_iter().collect()
}

impl Mirror {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        if !self.expectations.satisfied(&key) {
            return Ok(Action::Done);
        }
        let (endpoints, service) = (self.endpoints.get(&key), self.services.get(&key));
        let existing = self.slices.by_index(BY_MIRRORED, &key.to_string());
        let plan = plan::plan(endpoints.as_deref(), service.as_deref(), &existing);
        let api = Api::<EndpointSlice>::namespaced(self.client.clone(), &key.namespace);
        for slice in &plan.create {
            self.expectations.expect(&key, 1, []);
            if let Err(error) = api.create(&PostParams::default(), slice).await {
                self.expectations.creation_observed(&key);
                return if pods::is_namespace_terminating(&error) { Ok(Action::Done) } else { Err(error.into()) };
            }
        }
        for slice in &plan.update {
            api.replace(&slice.name_any(), &PostParams::default(), slice).await?;
        }
        for slice in &plan.delete {
            let uid = slice.uid().unwrap_or_default();
            self.expectations.expect(&key, 0, [uid.clone()]);
            match api.delete(&slice.name_any(), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) => {
                    self.expectations.deletion_observed(&key, &uid);
                    if !matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(Action::Done)
    }
}
