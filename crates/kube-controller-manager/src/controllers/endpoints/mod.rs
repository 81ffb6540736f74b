//! Keeps the Endpoints object of each Service with a selector (the older form of what EndpointSlices say).

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};

use super::endpointslice::{members, watch_member_pods};
use crate::{context::Context, pods};

struct Controller {
    client: Client,
    services: Store<Service>,
    pods: Store<Pod>,
    endpoints: Store<Endpoints>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let services = context.informer::<Service>();
    let informer = pods::indexed(context.informer::<Pod>());
    let endpoints = context.informer::<Endpoints>();
    services.enqueue_to(&queue);
    endpoints.enqueue_to(&queue);
    watch_member_pods(&informer, services.store(), &queue);
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        services: services.store().clone(),
        pods: informer.store().clone(),
        endpoints: endpoints.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

impl Controller {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let api = Api::<Endpoints>::namespaced(self.client.clone(), &key.namespace);
        let current = self.endpoints.get(&key);
        let Some(service) = self.services.get(&key) else {
            return match current.filter(|endpoints| plan::is_ours(endpoints)) {
                None => Ok(Action::Done),
                Some(_) => match api.delete(&key.name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Done),
                    result => result.map(|_| Action::Done).map_err(Into::into),
                },
            };
        };
        let Some(spec) = service.spec.as_ref().filter(|spec| members::has_members(spec)) else {
            return Ok(Action::Done);
        };
        let mut found = self.pods.list_in(&key.namespace);
        found.retain(|pod| labels::map_selects(spec.selector.as_ref(), Some(pod.labels())));
        let wanted = plan::endpoints(&service, spec, &found, current.as_deref());
        let result = match current {
            Some(current) if *current == wanted => return Ok(Action::Done),
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match result {
            Ok(_) => Ok(Action::Done),
            Err(error) if pods::is_namespace_terminating(&error) => Ok(Action::Done),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Action::RequeueRateLimited),
            Err(error) => Err(error.into()),
        }
    }
}
