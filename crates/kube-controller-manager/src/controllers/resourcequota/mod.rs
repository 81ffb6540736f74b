//! Recalculates what ResourceQuotas' namespaces use. (Admission counts up; what was freed is found here.)

mod plan;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use controller_runtime::{Action, BoxError, Informers, ObjectKey, Outcome, SharedInformer, Store, WorkQueue};
use kube::{
    Api, Client,
    api::{DynamicObject, PartialObjectMeta, PostParams},
};
use parking_lot::Mutex;

use crate::{context::Context, discovery::Discovery};

struct Quotas {
    client: Client,
    queue: WorkQueue<ObjectKey>,
    quotas: Store<ResourceQuota>,
    pods: Store<Pod>,
    services: Store<Service>,
    claims: Store<PersistentVolumeClaim>,
    informers: Informers,
    discovery: Discovery,
    /// Kinds whose objects some quota counts, by group resource; watched from the first such quota on.
    counted: Mutex<BTreeSet<String>>,
    period: std::time::Duration,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let quotas = context.informer::<ResourceQuota>();
    let (pods, services, claims) =
        (context.informer::<Pod>(), context.informer::<Service>(), context.informer::<PersistentVolumeClaim>());
    quotas.enqueue_to(&queue);
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.clone());
    wake(&pods, quotas.store(), &queue, move |old, new| old.spec != new.spec || phase(old) != phase(new));
    wake(&services, quotas.store(), &queue, |old, new| old.spec != new.spec);
    wake(&claims, quotas.store(), &queue, |old, new| old.spec != new.spec);
    let controller = Arc::new(Quotas {
        client: context.client.clone(),
        queue: queue.clone(),
        quotas: quotas.store().clone(),
        pods: pods.store().clone(),
        services: services.store().clone(),
        claims: claims.store().clone(),
        informers: context.shared.informers.clone(),
        discovery: context.shared.discovery.clone(),
        counted: Mutex::default(),
        period: context.shared.config.resource_quota_sync_period,
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

/// Queues the quotas of a namespace when an object comes, goes, or changes what it uses.
fn wake<K: controller_runtime::Object>(
    informer: &SharedInformer<K>,
    quotas: &Store<ResourceQuota>,
    queue: &WorkQueue<ObjectKey>,
    changed: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
) {
    let (quotas, queue) = (quotas.clone(), queue.clone());
    informer.on_event(move |event| {
        let object = event.object();
        if !event.is_deleted() && event.old().is_some_and(|old| !changed(old, object)) {
            return;
        }
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        quotas.list_in(namespace).iter().for_each(|quota| queue.add(ObjectKey::of(quota.as_ref())));
    });
}

impl Quotas {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(quota) = self.quotas.get(&key) else { return Ok(Action::Done) };
        let hard = quota.spec.as_ref().and_then(|s| s.hard.clone()).unwrap_or_default();
        let mut counts = BTreeMap::new();
        for resource in hard.keys().filter_map(|name| plan::counted(name)) {
            counts.insert(resource.to_owned(), self.count(resource, &key.namespace).await?);
        }
        let world = plan::World {
            pods: &self.pods.list_in(&key.namespace),
            services: &self.services.list_in(&key.namespace),
            claims: &self.claims.list_in(&key.namespace),
            counts: &counts,
            now: component_base::clock::now(),
        };
        let used = plan::used(&quota, &world);
        let known = quota.status.clone().unwrap_or_default();
        if !plan::same(known.hard.as_ref(), &hard) || !plan::same(known.used.as_ref(), &used) {
            let status = ResourceQuotaStatus { hard: Some(hard), used: Some(used) };
            let updated = ResourceQuota { status: Some(status), ..quota.as_ref().clone() };
            let api = Api::<ResourceQuota>::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        Ok(Action::RequeueAfter(self.period))
    }

    /// Objects of a kind in a namespace. A kind that is not served has none.
    async fn count(&self, resource: &str, namespace: &str) -> Result<i64, BoxError> {
        let served = self.discovery.served().await?;
        let Some(found) = served.resources.iter().find(|r| r.group_resource() == resource && r.can("watch")) else {
            return Ok(0);
        };
        let informer: SharedInformer<PartialObjectMeta<DynamicObject>> =
            self.informers.metadata_informer(&found.api_resource());
        if self.counted.lock().insert(resource.to_owned()) {
            wake(&informer, &self.quotas, &self.queue, |_, _| false);
        }
        if !informer.synced().await {
            return Err(format!("the watch of {resource} was stopped").into());
        }
        Ok(i64::try_from(informer.store().list_in(namespace).len()).unwrap_or(i64::MAX))
    }
}
