//! Keeps as many pods of a template as a ReplicaSet (or ReplicationController, through [`Parent`]) asks for.

mod apply;
mod plan;
#[cfg(test)]
mod tests;

use api_types::k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::{Pod, PodTemplateSpec},
};
use component_helpers::labels;
use controller_runtime::{BoxError, Expectations, Object, WorkQueue};
use kube::ResourceExt;
use serde::Serialize;

use crate::{
    context::Context,
    pods::{self, PodControl},
};

/// A kind that keeps a number of equal pods.
pub(crate) trait Parent:
    Object + Serialize + kube::Resource<DynamicType = (), Scope = api_types::k8s_openapi::NamespaceResourceScope>
{
    /// The kind's name in owner references.
    const KIND: &'static str;
    /// The component that events name.
    const COMPONENT: &'static str;
    /// Wanted pods.
    fn desired(&self) -> i32;
    /// How long a pod must be ready to count as available.
    fn min_ready_seconds(&self) -> i32;
    /// Whether the selector selects a pod.
    fn selects(&self, pod: &Pod) -> bool;
    /// The template of new pods.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// The status, in ReplicaSet's form.
    fn status(&self) -> ReplicaSetStatus;
    /// The object with another status.
    fn with_status(&self, status: ReplicaSetStatus) -> Self;
}

impl Parent for ReplicaSet {
    const KIND: &'static str = "ReplicaSet";
    const COMPONENT: &'static str = "replicaset-controller";

    fn desired(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default()
    }

    fn selects(&self, pod: &Pod) -> bool {
        let selector = self.spec.as_ref().map(|s| &s.selector);
        !labels::is_empty(selector) && labels::selects(selector, Some(pod.labels()))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref().and_then(|s| s.template.as_ref())
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    start_for::<ReplicaSet>(context)
}

/// Starts the controller for one kind.
pub(crate) fn start_for<P: Parent>(context: &Context) -> Result<(), BoxError> {
    let (queue, expectations) = (WorkQueue::new(), Expectations::default());
    let parents = context.informer::<P>().index(pods::BY_CONTROLLER, pods::by_controller::<P>);
    let informer = pods::indexed(context.informer::<Pod>());
    pods::watch_parents(&parents, &queue, &expectations);
    pods::watch_pods(&informer, parents.store(), P::KIND, &queue, &expectations, P::selects);
    let control = PodControl { client: context.client.clone(), recorder: context.recorder(P::COMPONENT) };
    let controller = std::sync::Arc::new(apply::Replicas {
        control,
        parents: parents.store().clone(),
        pods: informer.store().clone(),
        expectations,
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}
