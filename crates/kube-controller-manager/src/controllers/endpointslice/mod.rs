//! Keeps EndpointSlices for Services with a selector.

mod apply;
mod hints;
#[cfg(test)]
mod hints_tests;
pub(super) mod members;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use component_helpers::labels;
use controller_runtime::{BoxError, Event, Expectations, ObjectKey, SharedInformer, Store, WorkQueue};
use kube::ResourceExt;

use crate::{context::Context, pods};

/// The label that names a slice's service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names a slice's writer.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller as a slice's writer.
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (queue, expectations) = (WorkQueue::new(), Expectations::default());
    let services = context.informer::<Service>();
    let nodes = context.informer::<Node>();
    let informer = pods::indexed(context.informer::<Pod>());
    let slices = context.informer::<EndpointSlice>().index(BY_SERVICE, by_service);
    services.enqueue_to(&queue);
    watch_member_pods(&informer, services.store(), &queue);
    watch_slices(&slices, &queue, &expectations);
    let (all, on_node) = (services.store().clone(), queue.clone());
    nodes.on_event(move |event| {
        let zone = |node: &Node| members::zone(Some(node));
        if event.old().is_some_and(|old| zone(old) != zone(event.object())) && !event.is_deleted() {
            all.keys().into_iter().for_each(|key| on_node.add(key));
        }
        let (old, new) = (event.old().filter(|_| !event.is_deleted()), event.object());
        if old.is_none_or(|old| hints::contribution(old) != hints::contribution(new)) {
            let services = all.list().into_iter().filter(|service| hints::mode(service) == hints::Mode::Auto);
            services.for_each(|service| on_node.add(ObjectKey::of(service.as_ref())));
        }
    });
    let controller = Arc::new(apply::Slices {
        client: context.client.clone(),
        recorder: context.recorder("endpoint-slice-controller"),
        services: services.store().clone(),
        pods: informer.store().clone(),
        nodes: nodes.store().clone(),
        slices: slices.store().clone(),
        expectations,
        shared_out: Default::default(),
        max_per_slice: context.shared.config.max_endpoints_per_slice,
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

fn service_key(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.labels();
    let ours = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
    let service = labels.get(SERVICE_NAME).filter(|_| ours)?;
    Some(ObjectKey::new(slice.namespace().unwrap_or_default(), service.clone()))
}

fn by_service(slice: &EndpointSlice) -> Vec<String> {
    service_key(slice).map(|key| key.to_string()).into_iter().collect()
}

/// Queues the services that select a pod, now or before the change.
pub(crate) fn watch_member_pods(
    informer: &SharedInformer<Pod>,
    services: &Store<Service>,
    queue: &WorkQueue<ObjectKey>,
) {
    let (services, queue) = (services.clone(), queue.clone());
    informer.on_event(move |event| {
        let pod = event.object();
        let namespace = pod.namespace().unwrap_or_default();
        for service in services.list_in(&namespace) {
            let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
            let selects = |pod: &Pod| labels::map_selects(selector, Some(pod.labels()));
            if selects(pod) || event.old().is_some_and(|old| selects(old)) {
                queue.add(ObjectKey::of(service.as_ref()));
            }
        }
    });
}

fn watch_slices(slices: &SharedInformer<EndpointSlice>, queue: &WorkQueue<ObjectKey>, expectations: &Expectations) {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    slices.on_event(move |event| {
        let Some(key) = service_key(event.object()) else { return };
        match event {
            Event::Added(_) => expectations.creation_observed(&key),
            Event::Deleted(slice) => {
                expectations.deletion_observed(&key, slice.metadata.uid.as_deref().unwrap_or_default())
            }
            Event::Updated { .. } => {}
        }
        queue.add(key);
    });
}
