//! VolumeAttributesClasses that claims or volumes have, ask for, or are being changed to.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use controller_runtime::{Action, BoxError, Object, ObjectKey, Outcome, SharedInformer, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use super::{Step, has, step};
use crate::context::Context;

const FINALIZER: &str = "kubernetes.io/vac-protection";
const BY_CLASS: &str = "class";

struct Classes {
    client: Client,
    classes: Store<VolumeAttributesClass>,
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
}

pub(crate) fn start_classes(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let classes = context.informer::<VolumeAttributesClass>();
    classes.enqueue_to(&queue);
    let claims = context.informer::<PersistentVolumeClaim>().index(BY_CLASS, of_claim);
    let volumes = context.informer::<PersistentVolume>().index(BY_CLASS, of_volume);
    watch_users(&claims, of_claim, &queue);
    watch_users(&volumes, of_volume, &queue);
    let controller = Arc::new(Classes {
        client: context.client.clone(),
        classes: classes.store().clone(),
        claims: claims.store().clone(),
        volumes: volumes.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

/// The classes that were used and may be no longer.
fn watch_users<K: Object>(users: &SharedInformer<K>, classes: fn(&K) -> Vec<String>, queue: &WorkQueue<ObjectKey>) {
    let queue = queue.clone();
    users.on_event(move |event| {
        let before = event.old().map(|old| classes(old)).unwrap_or_default();
        before.into_iter().for_each(|class| queue.add(ObjectKey::cluster(class)));
    });
}

fn named(classes: impl IntoIterator<Item = Option<String>>) -> Vec<String> {
    classes.into_iter().flatten().filter(|class| !class.is_empty()).collect()
}

fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let change = status.and_then(|status| status.modify_volume_status.as_ref());
    named([wanted, current, change.and_then(|change| change.target_volume_attributes_class_name.clone())])
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    named([volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone())])
}

impl Classes {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(class) = self.classes.get(&key) else { return Ok(Action::Done) };
        let in_use = || {
            let claims = self.claims.by_index(BY_CLASS, &key.name);
            !claims.is_empty() || !self.volumes.by_index(BY_CLASS, &key.name).is_empty()
        };
        let mut updated = class.as_ref().clone();
        let deleting = class.metadata.deletion_timestamp.is_some();
        match step(deleting, has(class.as_ref(), FINALIZER), in_use) {
            Step::Keep => return Ok(Action::Done),
            Step::Add => updated.finalizers_mut().push(FINALIZER.to_owned()),
            Step::Remove => updated.finalizers_mut().retain(|finalizer| finalizer != FINALIZER),
        }
        let api = Api::<VolumeAttributesClass>::all(self.client.clone());
        api.replace(&key.name, &PostParams::default(), &updated).await?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_that_a_claim_has_wants_or_gets_are_in_use() {
        let claim = json!({"spec": {"volumeAttributesClassName": "wanted"}, "status": {
            "currentVolumeAttributesClassName": "current",
            "modifyVolumeStatus": {"status": "InProgress", "targetVolumeAttributesClassName": "target"}}});
        assert_eq!(of_claim(&serde_json::from_value(claim).unwrap()), ["wanted", "current", "target"]);
        assert_eq!(of_claim(&PersistentVolumeClaim::default()), [""; 0]);
    }
}
