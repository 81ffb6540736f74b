//! Empties a namespace that is being deleted, then gives up its finalizer.
//!
//! What has to be deleted comes from discovery: every namespaced resource that can be listed and deleted. Pods go first and nothing
//! else until they are gone (KEP-5080), so that no pod runs without the policies around it. A resource that could not be looked
//! at is never taken for empty: the finalizer stays, and a condition says why.

mod apply;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::Namespace;
use controller_runtime::{BoxError, WorkQueue};

use crate::context::Context;

/// The finalizer that this controller owns.
const FINALIZER: &str = "kubernetes";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let namespaces = context.informer::<Namespace>();
    let on_change = queue.clone();
    namespaces.on_event(move |event| {
        let meta = &event.object().metadata;
        if !event.is_deleted() && meta.deletion_timestamp.is_some() {
            on_change.add(controller_runtime::ObjectKey::of(event.object().as_ref()));
        }
    });
    let controller = Arc::new(apply::Deleter {
        client: context.client.clone(),
        namespaces: namespaces.store().clone(),
        discovery: context.shared.discovery.clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}
