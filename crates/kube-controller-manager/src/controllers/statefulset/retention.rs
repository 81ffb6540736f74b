//! Who owns the claims of a set, by `persistentVolumeClaimRetentionPolicy`: the set (they go with it), a condemned pod (they go with the
//! pod), or nobody. Pure.

use api_types::k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use controller_runtime::owner;
use kube::ResourceExt;

use super::identity;

/// What has to be done about a claim's owners.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// The owners that it shall have, unless it has them.
    pub(super) owners: Option<Vec<OwnerReference>>,
    /// Another controller owns it, so the policy does not hold for it.
    pub(super) conflict: bool,
}

/// The set and a pod of it, which may not exist yet: as owners.
struct Parties {
    set: OwnerReference,
    pod: OwnerReference,
    /// Whose the claim is by the policy.
    owner: Option<Owner>,
}

#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Set,
    Pod,
}

/// The claim of the pod of this ordinal; without `pod` there is none (yet).
pub(super) fn judge(set: &StatefulSet, ordinal: i32, pod: Option<&Pod>, claim: &PersistentVolumeClaim) -> Verdict {
    let parties = Parties::new(set, ordinal, pod);
    let refs = claim.metadata.owner_references.as_deref().unwrap_or_default();
    // What a former set or pod of the name owns is the garbage collector's.
    if refs.iter().any(|r| parties.is_stale(r)) {
        return Verdict { owners: None, conflict: governs(set) };
    }
    let is_party = |r: &OwnerReference| r.uid == parties.set.uid || (!r.uid.is_empty() && r.uid == parties.pod.uid);
    let conflict = governs(set) && refs.iter().any(|r| !is_party(r) && r.controller == Some(true));
    let wanted = parties.wanted().filter(|_| !conflict);
    let have: Vec<_> = refs.iter().filter(|r| is_party(r)).collect();
    let up_to_date = have.len() == usize::from(wanted.is_some())
        && have.iter().all(|r| r.controller == Some(true) && wanted.is_some_and(|wanted| wanted.uid == r.uid));
    let owners = || refs.iter().filter(|r| !is_party(r)).chain(wanted).cloned().collect();
    Verdict { owners: (!up_to_date).then(owners), conflict }
}

/// The owners of a claim that is made for the pod of this ordinal, which does not exist yet.
pub(super) fn first_owners(set: &StatefulSet, ordinal: i32) -> Option<Vec<OwnerReference>> {
    let parties = Parties::new(set, ordinal, None);
    parties.wanted().map(|owner| vec![owner.clone()])
}

/// Whether the claim waits for its removal with the former pod of this ordinal.
pub(super) fn awaits_removal(set: &StatefulSet, ordinal: i32, claim: &PersistentVolumeClaim) -> bool {
    let (_, when_scaled) = deletes(set);
    let pod = Parties::new(set, ordinal, None).pod;
    when_scaled && claim.owner_references().iter().any(|r| same_name(r, &pod))
}

/// Whether claims are deleted with the set, and when it is scaled down.
fn deletes(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.clone());
    let StatefulSetPersistentVolumeClaimRetentionPolicy { when_deleted, when_scaled } = policy.unwrap_or_default();
    let is_delete = |value: Option<String>| value.as_deref() == Some("Delete");
    (is_delete(when_deleted), is_delete(when_scaled))
}

/// Whether the policy asks for any owner at any time.
fn governs(set: &StatefulSet) -> bool {
    let (when_deleted, when_scaled) = deletes(set);
    when_deleted || when_scaled
}

fn same_name(a: &OwnerReference, b: &OwnerReference) -> bool {
    (&a.api_version, &a.kind, &a.name) == (&b.api_version, &b.kind, &b.name)
}

impl Parties {
    fn new(set: &StatefulSet, ordinal: i32, pod: Option<&Pod>) -> Self {
        let named = || {
            let name = Some(identity::pod_name(set, ordinal));
            Pod { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Pod::default() }
        };
        let owner = match (deletes(set), identity::is_wanted(set, ordinal)) {
            ((_, true), false) => Some(Owner::Pod),
            ((true, _), _) => Some(Owner::Set),
            _ => None,
        };
        let pod = pod.map_or_else(|| owner::controller_ref(&named()), owner::controller_ref);
        Self { set: owner::controller_ref(set), pod, owner }
    }

    fn wanted(&self) -> Option<&OwnerReference> {
        self.owner.map(|owner| match owner {
            Owner::Set => &self.set,
            Owner::Pod => &self.pod,
        })
    }

    /// It names the set or the pod, and means another one.
    fn is_stale(&self, reference: &OwnerReference) -> bool {
        [&self.set, &self.pod].into_iter().any(|party| same_name(reference, party) && reference.uid != party.uid)
    }
}
