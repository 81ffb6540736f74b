//! Binds claims to volumes that administrators made (static provisioning), and tracks the phases of both.
//!
//! Dynamic provisioning is external provisioners' work: here the claim only gets the annotation that asks them. Volumes are
//! never wiped: `Retain` keeps a released one, `Delete` is left to the provisioner that made it, `Recycle` is refused by an event.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus},
    storage::v1::StorageClass,
};
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use self::plan::ClaimStep;
use crate::context::Context;

struct Binder {
    client: Client,
    recorder: EventRecorder,
    volumes: Store<PersistentVolume>,
    claims: Store<PersistentVolumeClaim>,
    classes: Store<StorageClass>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (claim_queue, volume_queue) = (WorkQueue::new(), WorkQueue::new());
    let volumes = context.informer::<PersistentVolume>();
    let claims = context.informer::<PersistentVolumeClaim>();
    let classes = context.informer::<StorageClass>();
    claims.enqueue_to(&claim_queue);
    volumes.enqueue_to(&volume_queue);
    let (all, on_volume) = (claims.store().clone(), claim_queue.clone());
    volumes.on_event(move |_| {
        // Any waiting claim may fit a new or freed volume.
        let waiting = all.list().into_iter().filter(|claim| !plan::is_bound(claim));
        waiting.for_each(|claim| on_volume.add(ObjectKey::of(claim.as_ref())));
    });
    let on_claim = volume_queue.clone();
    claims.on_event(move |event| {
        let named = event.object().spec.as_ref().and_then(|s| s.volume_name.clone());
        if let Some(name) = named.filter(|name| !name.is_empty()) {
            on_claim.add(ObjectKey::cluster(name));
        }
    });
    let binder = Arc::new(Binder {
        client: context.client.clone(),
        recorder: context.recorder("persistentvolume-controller"),
        volumes: volumes.store().clone(),
        claims: claims.store().clone(),
        classes: classes.store().clone(),
    });
    let of_volumes = binder.clone();
    context.run(&claim_queue, move |key| binder.clone().claim(key));
    context.run(&volume_queue, move |key| of_volumes.clone().volume(key));
    Ok(())
}

impl Binder {
    async fn claim(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(claim) = self.claims.get(&key) else { return Ok(Action::Done) };
        let class = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref()).unwrap_or_default();
        let class = self.classes.get(&ObjectKey::cluster(class));
        match plan::claim(&claim, &self.volumes.list(), class.as_deref()) {
            ClaimStep::Nothing => {}
            ClaimStep::Bind(volume) => self.bind(&claim, &volume).await?,
            ClaimStep::Annotate(updated) => {
                self.claims_api(&key).replace(&key.name, &PostParams::default(), &updated).await?;
            }
            ClaimStep::Phase { phase, reason, message } => {
                if phase == "Lost" {
                    self.recorder.warning(claim.as_ref(), reason, message);
                } else {
                    self.recorder.normal(claim.as_ref(), reason, message);
                }
                if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some(phase) {
                    let mut updated = claim.as_ref().clone();
                    updated.status.get_or_insert_default().phase = Some(phase.to_owned());
                    self.claims_api(&key).replace_status(&key.name, &PostParams::default(), &updated).await?;
                }
            }
        }
        Ok(Action::Done)
    }

    fn claims_api(&self, key: &ObjectKey) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The volume first: whoever holds its reference owns it, whatever happens between the writes.
    async fn bind(&self, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<(), kube::Error> {
        let (key, name, params) = (ObjectKey::of(claim), volume.name_any(), PostParams::default());
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let mut volume = volume.clone();
        if let Some(referring) = plan::volume_for(&volume, claim) {
            volume = volumes.replace(&name, &params, &referring).await?;
        }
        if volume.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
            let status =
                PersistentVolumeStatus { phase: Some("Bound".to_owned()), ..volume.status.clone().unwrap_or_default() };
            volume =
                volumes.replace_status(&name, &params, &PersistentVolume { status: Some(status), ..volume }).await?;
        }
        let claims = self.claims_api(&key);
        let mut current = claim.clone();
        if let Some(referring) = plan::claim_for(claim, &name) {
            current = claims.replace(&key.name, &params, &referring).await?;
        }
        if let Some(updated) = plan::bound_status(&current, &volume) {
            claims.replace_status(&key.name, &params, &updated).await?;
        }
        Ok(())
    }

    async fn volume(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(volume) = self.volumes.get(&key) else { return Ok(Action::Done) };
        let claim = match volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) {
            None => None,
            Some(reference) => {
                let (namespace, name) = (reference.namespace.as_deref(), reference.name.as_deref());
                let claim = ObjectKey::new(namespace.unwrap_or_default(), name.unwrap_or_default());
                match self.claims.get(&claim) {
                    Some(known) => Some(known.as_ref().clone()),
                    // Releasing is for good: only on the API server's word.
                    None => self.claims_api(&claim).get_opt(&claim.name).await?,
                }
            }
        };
        let phase = plan::volume_phase(&volume, claim.as_ref());
        if volume.status.as_ref().and_then(|s| s.phase.as_deref()) != Some(phase) {
            let mut updated = volume.as_ref().clone();
            updated.status.get_or_insert_default().phase = Some(phase.to_owned());
            let api = Api::<PersistentVolume>::all(self.client.clone());
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
            let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
            if phase == "Released" && policy == Some("Recycle") {
                self.recorder.warning(
                    volume.as_ref(),
                    "VolumeFailedRecycle",
                    "recycling is not supported: delete the volume by hand",
                );
            }
        }
        Ok(Action::Done)
    }
}
