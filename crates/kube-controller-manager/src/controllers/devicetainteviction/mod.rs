//! Deletes pods that use a device with a NoExecute taint which their claim does not (or not for so long) tolerate.

mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceSlice},
};
use component_helpers::pods as helpers;
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Client, ResourceExt};

use super::tainteviction::plan::Verdict;
use crate::{context::Context, pods};

const NAME: &str = "device-taint-eviction-controller";
/// Index of claims by the uids of the pods that they are reserved for.
const BY_USER: &str = "user";
/// Index of claims by the pools of their devices, and of slices by their pool.
const BY_POOL: &str = "pool";

struct Evictor {
    client: Client,
    recorder: EventRecorder,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
    slices: Store<ResourceSlice>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let pods = context.informer::<Pod>();
    let claims = context.informer::<ResourceClaim>().index(BY_USER, users).index(BY_POOL, pools);
    let slices = context.informer::<ResourceSlice>().index(BY_POOL, pool_of);
    let on_pod = queue.clone();
    pods.on_event(move |event| {
        let pod = event.object();
        let came = event.old().is_none_or(|old| helpers::node_name(old).is_none());
        if came && !event.is_deleted() && helpers::node_name(pod).is_some() {
            on_pod.add(ObjectKey::of(pod.as_ref()));
        }
    });
    let on_claim = queue.clone();
    claims.on_event(move |event| user_keys(event.object()).into_iter().for_each(|key| on_claim.add(key)));
    let (on_slice, all) = (queue.clone(), claims.store().clone());
    slices.on_event(move |event| {
        let pools = pool_of(event.object()).into_iter();
        let affected = pools.flat_map(|pool| all.by_index(BY_POOL, &pool));
        affected.flat_map(|claim| user_keys(&claim)).for_each(|key| on_slice.add(key));
    });
    let evictor = Arc::new(Evictor {
        client: context.client.clone(),
        recorder: context.recorder(NAME),
        pods: pods.store().clone(),
        claims: claims.store().clone(),
        slices: slices.store().clone(),
    });
    context.run(&queue, move |key| evictor.clone().reconcile(key));
    Ok(())
}

/// The pods that a claim is reserved for: key and uid.
fn reserved(claim: &ResourceClaim) -> impl Iterator<Item = (ObjectKey, String)> {
    let all = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    let pods = all.filter(|user| user.resource == "pods" && user.api_group.as_deref().unwrap_or_default().is_empty());
    let namespace = claim.namespace().unwrap_or_default();
    pods.map(move |user| (ObjectKey::new(namespace.clone(), user.name.clone()), user.uid.clone()))
}

fn users(claim: &ResourceClaim) -> Vec<String> {
    reserved(claim).map(|(_, uid)| uid).collect()
}

fn user_keys(claim: &ResourceClaim) -> Vec<ObjectKey> {
    reserved(claim).map(|(key, _)| key).collect()
}

fn pools(claim: &ResourceClaim) -> Vec<String> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    let devices = allocation.and_then(|allocation| allocation.devices.as_ref());
    let mut pools: Vec<_> = devices
        .iter()
        .flat_map(|devices| devices.results.iter().flatten())
        .map(|device| pool(&device.driver, &device.pool))
        .collect();
    pools.sort();
    pools.dedup();
    pools
}

fn pool_of(slice: &ResourceSlice) -> Vec<String> {
    vec![pool(&slice.spec.driver, &slice.spec.pool.name)]
}

fn pool(driver: &str, pool: &str) -> String {
    format!("{driver}/{pool}")
}

impl Evictor {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(pod) = self.pods.get(&key) else { return Ok(Action::Done) };
        let claims = self.claims.by_index(BY_USER, &pod.uid().unwrap_or_default());
        let taints = |device: &api_types::k8s_openapi::api::resource::v1::DeviceRequestAllocationResult| {
            let slices = self.slices.by_index(BY_POOL, &pool(&device.driver, &device.pool));
            plan::taints(&slices, &device.device)
        };
        match plan::verdict(&pod, &claims, taints, component_base::clock::now()) {
            Verdict::Stay => Ok(Action::Done),
            Verdict::Later(seconds) => Ok(Action::RequeueAfter(Duration::from_secs(seconds))),
            Verdict::Evict => {
                self.recorder.normal(pod.as_ref(), "DeviceTaintManagerEviction", "Marking for deletion");
                let message = "Device Taint manager: deleting due to NoExecute taint";
                pods::disrupt(&self.client, &pod, "DeletionByDeviceTaintManager", message).await?;
                Ok(Action::Done)
            }
        }
    }
}
