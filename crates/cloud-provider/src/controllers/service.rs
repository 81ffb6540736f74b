//! service-lb-controller: a load balancer for every service of type LoadBalancer.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, Service};
use component_helpers::nodes;
use controller_runtime::{Action, EventType, ObjectKey, Outcome, WorkQueue, events, run_workers};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::Context;

const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// How often a load balancer is looked after when nothing changes.
const RESYNC: Duration = Duration::from_secs(300);

pub(super) fn start(context: &Context) {
    if context.cloud.load_balancers().is_none() {
        return;
    }
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let services = context.informers.informer::<Service>();
    services.enqueue_to(&queue);
    let node_informer = context.informers.informer::<Node>();
    let (all, requeue) = (services.store().clone(), queue.clone());
    node_informer.on_event(move |event| {
        let before = event.old().filter(|_| !event.is_deleted()).is_some_and(|n| takes_traffic(n));
        let now = !event.is_deleted() && takes_traffic(event.object());
        if before != now || event.is_deleted() {
            all.list().iter().filter(|s| wants(s)).for_each(|s| requeue.add(ObjectKey::of(&**s)));
        }
    });
    let (services, nodes) = (services.store().clone(), node_informer.store().clone());
    let context = context.clone();
    let (tasks, shutdown, workers) = (context.tasks.clone(), context.shutdown.clone(), context.service_workers);
    run_workers("service-lb-controller", &queue, workers, &tasks, &shutdown, move |key: ObjectKey| {
        let (context, service) = (context.clone(), services.get(&key));
        let ready: Vec<_> = nodes.list().into_iter().filter(|n| takes_traffic(n)).collect();
        async move {
            match service {
                Some(service) => reconcile(&context, &service, &ready).await,
                // The finalizer saw to it that nothing is left.
                None => Ok(Action::Done),
            }
        }
    });
}

/// Whether load balancers may send traffic to the node.
fn takes_traffic(node: &Node) -> bool {
    let excluded = node.metadata.labels.as_ref().is_some_and(|l| l.contains_key(EXCLUDE));
    let leaving = nodes::node_taints(node).iter().any(|t| t.key == "ToBeDeletedByClusterAutoscaler");
    !excluded && !leaving && node.metadata.deletion_timestamp.is_none() && nodes::is_ready(node)
}

/// Whether the service is to have a load balancer of this cloud.
fn wants(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none())
        && service.metadata.deletion_timestamp.is_none()
}

fn has_finalizer(service: &Service) -> bool {
    service.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// The service's finalizers with ours added or taken away, bound to the version that they were read from.
fn finalizers(service: &Service, ours: bool) -> Value {
    let mut all: Vec<_> = service.metadata.finalizers.iter().flatten().filter(|f| *f != FINALIZER).cloned().collect();
    if ours {
        all.push(FINALIZER.to_owned());
    }
    let all = if all.is_empty() { Value::Null } else { json!(all) };
    json!({"metadata": {"finalizers": all, "resourceVersion": service.metadata.resource_version}})
}

async fn reconcile(context: &Context, service: &Arc<Service>, nodes: &[Arc<Node>]) -> Outcome {
    if wants(service) {
        ensure(context, service, nodes).await
    } else if has_finalizer(service) {
        release(context, service).await
    } else {
        Ok(Action::Done)
    }
}

fn api(context: &Context, service: &Service) -> Api<Service> {
    Api::namespaced(context.client.clone(), service.metadata.namespace.as_deref().unwrap_or_default())
}

fn tell(context: &Context, service: &Service, type_: EventType, reason: &str, message: impl Into<String>) {
    context.recorder.with_component("service-controller").event(events::reference(service), type_, reason, message);
}

async fn ensure(context: &Context, service: &Arc<Service>, nodes: &[Arc<Node>]) -> Outcome {
    let Some(balancers) = context.cloud.load_balancers() else { return Ok(Action::Done) };
    let (api, name) = (api(context, service), service.metadata.name.as_deref().unwrap_or_default());
    let current = service.status.as_ref().and_then(|s| s.load_balancer.clone()).unwrap_or_default();
    let is_new = current == LoadBalancerStatus::default();
    if is_new {
        tell(context, service, EventType::Normal, "EnsuringLoadBalancer", "Ensuring load balancer");
    }
    if !has_finalizer(service) {
        // First, so that nothing is made that nobody removes. The changed service comes back here.
        api.patch(name, &PatchParams::default(), &Patch::Merge(&finalizers(service, true))).await?;
        return Ok(Action::Done);
    }
    if nodes.is_empty() {
        tell(
            context,
            service,
            EventType::Warning,
            "UnAvailableLoadBalancer",
            "There are no available nodes for LoadBalancer",
        );
    }
    let status = match balancers.ensure(service, nodes).await {
        Ok(status) => status,
        Err(error) => {
            let message = format!("Error syncing load balancer: failed to ensure load balancer: {error}");
            tell(context, service, EventType::Warning, "SyncLoadBalancerFailed", message);
            return Err(error.into());
        }
    };
    if status != current {
        let patch = json!({"status": {"loadBalancer": status}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    if is_new {
        tell(context, service, EventType::Normal, "EnsuredLoadBalancer", "Ensured load balancer");
    }
    Ok(Action::RequeueAfter(RESYNC))
}

async fn release(context: &Context, service: &Arc<Service>) -> Outcome {
    let Some(balancers) = context.cloud.load_balancers() else { return Ok(Action::Done) };
    let (api, name) = (api(context, service), service.metadata.name.as_deref().unwrap_or_default());
    tell(context, service, EventType::Normal, "DeletingLoadBalancer", "Deleting load balancer");
    if let Err(error) = balancers.delete(service).await {
        let message = format!("Error syncing load balancer: failed to delete load balancer: {error}");
        tell(context, service, EventType::Warning, "SyncLoadBalancerFailed", message);
        return Err(error.into());
    }
    let shown = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).is_some_and(|l| l.ingress.is_some());
    if shown && service.metadata.deletion_timestamp.is_none() {
        let patch = json!({"status": {"loadBalancer": {"ingress": null}}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        // The version that the finalizers are bound to is gone: the changed service comes back here.
        return Ok(Action::Done);
    }
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&finalizers(service, false))).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        result => drop(result?),
    }
    tell(context, service, EventType::Normal, "DeletedLoadBalancer", "Deleted load balancer");
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(value: Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn who_wants_one() {
        let spec = |spec: Value| wants(&service(json!({"spec": spec})));
        assert!(spec(json!({"type": "LoadBalancer"})));
        assert!(!spec(json!({"type": "LoadBalancer", "loadBalancerClass": "x/y"})));
        assert!(!spec(json!({"type": "NodePort"})));
        assert!(!wants(&service(
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"type": "LoadBalancer"}})
        )));
    }

    #[test]
    fn other_finalizers_stay() {
        let with = service(json!({"metadata": {"finalizers": ["other", FINALIZER]}}));
        assert_eq!(finalizers(&with, false)["metadata"]["finalizers"], json!(["other"]));
        assert_eq!(finalizers(&with, true)["metadata"]["finalizers"], json!(["other", FINALIZER]));
        let only = service(json!({"metadata": {"finalizers": [FINALIZER]}}));
        assert_eq!(finalizers(&only, false)["metadata"]["finalizers"], Value::Null);
    }
}
