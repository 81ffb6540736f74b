//! Owner references: who controls an object, and taking it over or letting it go.

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

/// The reference to the object's controller.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The uid of the object's controller.
pub fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    controller_of(meta).map(|owner| owner.uid.as_str())
}

/// Whether the object is controlled by the one with this uid.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_uid(meta) == Some(uid)
}

/// An index function's value: the uid of the controller, for stores of dependents.
pub fn index_by_controller<K: Resource>(object: &K) -> Vec<String> {
    controller_uid(object.meta()).map(str::to_owned).into_iter().collect()
}

/// A reference that makes `owner` the controller, blocking its foreground deletion.
pub fn controller_ref<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether an object found by selector belongs to a controller, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the controller's and matches: keep.
    Keep,
    /// An orphan that matches: adopt it.
    Adopt,
    /// The controller's own that does not match any more: release it.
    Release,
    /// Not ours.
    Ignore,
}

/// Decides about one object, as upstream's controller reference manager does.
pub fn claim(object: &ObjectMeta, matches: bool, controller: &ObjectMeta) -> Claim {
    let uid = controller.uid.as_deref().unwrap_or_default();
    match (controller_of(object), matches) {
        (Some(owner), true) if owner.uid == uid => Claim::Keep,
        (Some(owner), false) if owner.uid == uid && controller.deletion_timestamp.is_none() => Claim::Release,
        (None, true)
            if controller.deletion_timestamp.is_none()
                && object.deletion_timestamp.is_none()
                && object.namespace == controller.namespace =>
        {
            Claim::Adopt
        }
        _ => Claim::Ignore,
    }
}

/// Adopts an object: adds the controller reference, on condition that the object is still the one with this uid.
pub async fn adopt<K>(api: &Api<K>, object: &ObjectMeta, owner: OwnerReference) -> Result<K, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({"metadata": {"uid": object.uid, "ownerReferences": [owner]}});
    let name = object.name.as_deref().unwrap_or_default();
    api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await
}

/// Releases an object: removes the owner's reference. An object that is gone, or whose uid is another one's, needs none.
pub async fn release<K>(api: &Api<K>, object: &ObjectMeta, owner_uid: &str) -> Result<(), kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = json!({"metadata": {"uid": object.uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}});
    let name = object.name.as_deref().unwrap_or_default();
    match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 422 => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(owner: Option<&str>, deleting: bool) -> ObjectMeta {
        let owner =
            owner.map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]);
        let deleted = deleting.then(|| Time(component_base::clock::now()));
        ObjectMeta { owner_references: owner, deletion_timestamp: deleted, ..Default::default() }
    }

    #[test]
    fn claims() {
        let controller = |deleting| ObjectMeta { uid: Some("c".into()), ..meta(None, deleting) };
        for (object, matches, controller, want) in [
            (meta(Some("c"), false), true, controller(false), Claim::Keep),
            (meta(Some("c"), true), true, controller(true), Claim::Keep),
            (meta(Some("c"), false), false, controller(false), Claim::Release),
            (meta(Some("c"), false), false, controller(true), Claim::Ignore),
            (meta(Some("d"), false), true, controller(false), Claim::Ignore),
            (meta(None, false), true, controller(false), Claim::Adopt),
            (meta(None, false), false, controller(false), Claim::Ignore),
            (meta(None, true), true, controller(false), Claim::Ignore),
            (meta(None, false), true, controller(true), Claim::Ignore),
        ] {
            assert_eq!(claim(&object, matches, &controller), want, "{object:?} {matches} {controller:?}");
        }
    }
}
