//! Protection of what is in use: claims, volumes and attributes classes carry a finalizer that is removed only when no pod uses the
//! claim, the volume is not bound, no claim and no volume has the class.

mod classes;

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use component_helpers::pods as helpers;
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::context::Context;
pub(crate) use classes::start_classes;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
const BY_CLAIM: &str = "claim";

/// What to do about the finalizer.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Add,
    Remove,
}

fn step(deleting: bool, has: bool, in_use: impl FnOnce() -> bool) -> Step {
    match (deleting, has) {
        (false, false) => Step::Add,
        (true, true) if !in_use() => Step::Remove,
        _ => Step::Keep,
    }
}

fn has<K: ResourceExt>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|f| f == finalizer)
}

/// The names of the claims that a pod uses, its ephemeral volumes' too.
fn claims_of(pod: &Pod) -> Vec<String> {
    let (namespace, pod_name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let name = |volume: &api_types::k8s_openapi::api::core::v1::Volume| {
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        claim.or_else(|| volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name)))
    };
    volumes.filter_map(name).map(|claim| format!("{namespace}/{claim}")).collect()
}

struct Claims {
    client: Client,
    claims: Store<PersistentVolumeClaim>,
    pods: Store<Pod>,
}

pub(crate) fn start_claims(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let claims = context.informer::<PersistentVolumeClaim>();
    let pods = context.informer::<Pod>().index(BY_CLAIM, claims_of);
    claims.enqueue_to(&queue);
    let on_pod = queue.clone();
    pods.on_event(move |event| {
        let pod = event.object();
        if event.is_deleted() || helpers::is_terminal(pod) {
            let namespace = pod.namespace().unwrap_or_default();
            let names =
                claims_of(pod).into_iter().filter_map(|key| key.split_once('/').map(|(_, name)| name.to_owned()));
            names.for_each(|name| on_pod.add(ObjectKey::new(namespace.clone(), name)));
        }
    });
    let controller =
        Arc::new(Claims { client: context.client.clone(), claims: claims.store().clone(), pods: pods.store().clone() });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

impl Claims {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(claim) = self.claims.get(&key) else { return Ok(Action::Done) };
        let in_use = || {
            let users = self.pods.by_index(BY_CLAIM, &key.to_string());
            users.iter().any(|pod| !helpers::is_terminal(pod) && helpers::node_name(pod).is_some())
        };
        let mut updated = claim.as_ref().clone();
        let deleting = claim.metadata.deletion_timestamp.is_some();
        match step(deleting, has(claim.as_ref(), CLAIM_FINALIZER), in_use) {
            Step::Keep => return Ok(Action::Done),
            Step::Add => updated.finalizers_mut().push(CLAIM_FINALIZER.to_owned()),
            Step::Remove => updated.finalizers_mut().retain(|f| f != CLAIM_FINALIZER),
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        api.replace(&key.name, &PostParams::default(), &updated).await?;
        Ok(Action::Done)
    }
}

pub(crate) fn start_volumes(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let volumes = context.informer::<PersistentVolume>();
    volumes.enqueue_to(&queue);
    let (store, client) = (Arc::new(volumes.store().clone()), context.client.clone());
    context.run(&queue, move |key| volume(client.clone(), store.clone(), key));
    Ok(())
}

async fn volume(client: Client, volumes: Arc<Store<PersistentVolume>>, key: ObjectKey) -> Outcome {
    let Some(volume) = volumes.get(&key) else { return Ok(Action::Done) };
    let bound = || volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let mut updated = volume.as_ref().clone();
    let deleting = volume.metadata.deletion_timestamp.is_some();
    match step(deleting, has(volume.as_ref(), VOLUME_FINALIZER), bound) {
        Step::Keep => return Ok(Action::Done),
        Step::Add => updated.finalizers_mut().push(VOLUME_FINALIZER.to_owned()),
        Step::Remove => updated.finalizers_mut().retain(|f| f != VOLUME_FINALIZER),
    }
    Api::<PersistentVolume>::all(client).replace(&key.name, &PostParams::default(), &updated).await?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps() {
        for (deleting, has, in_use, want) in [
            (false, false, true, Step::Add),
            (false, true, false, Step::Keep),
            (true, true, true, Step::Keep),
            (true, true, false, Step::Remove),
            (true, false, false, Step::Keep),
        ] {
            assert_eq!(step(deleting, has, || in_use), want, "{deleting} {has} {in_use}");
        }
    }

    #[test]
    fn claims_of_a_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "scratch", "ephemeral": {}}, {"name": "x"}]}
        }))
        .unwrap();
        assert_eq!(claims_of(&pod), ["ns/data", "ns/p-scratch"]);
    }
}
