//! What to do about an object whose owners were looked up. Pure.

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{FOREGROUND, ORPHAN};

/// What an owner reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// An existing object.
    Solid,
    /// Nothing, or another object of that name.
    Dangling,
    /// An object in foreground deletion.
    Waiting,
}

/// How dependents of a deleted object are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    Keep,
    /// Write these references instead.
    Patch(Vec<OwnerReference>),
    /// Delete it; `unblock`: first let its owners go on, for a circle of waiting objects would never end.
    Delete {
        propagation: Propagation,
        unblock: bool,
    },
}

/// Decides about an object. `waits`: whether it has dependents in the graph; `circle`: whether one of them waits for its own.
pub(super) fn decide(meta: &ObjectMeta, owners: &[Owner], waits: bool, circle: bool) -> Decision {
    let references = meta.owner_references.as_deref().unwrap_or_default();
    if references.is_empty() {
        return Decision::Keep;
    }
    if owners.contains(&Owner::Solid) {
        let solid = references.iter().zip(owners).filter(|(_, owner)| **owner == Owner::Solid);
        let solid: Vec<_> = solid.map(|(reference, _)| reference.clone()).collect();
        return if solid.len() == references.len() { Decision::Keep } else { Decision::Patch(solid) };
    }
    if owners.contains(&Owner::Waiting) && waits {
        return Decision::Delete { propagation: Propagation::Foreground, unblock: circle };
    }
    let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|f| f == finalizer);
    let propagation = match () {
        () if has(ORPHAN) => Propagation::Orphan,
        () if has(FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    };
    Decision::Delete { propagation, unblock: false }
}

/// An owner as it was found: none = no such object.
pub(super) fn owner(reference: &OwnerReference, found: Option<&ObjectMeta>) -> Owner {
    match found {
        Some(meta) if meta.uid.as_deref() == Some(reference.uid.as_str()) => {
            let foreground = meta.finalizers.iter().flatten().any(|f| f == FOREGROUND);
            if meta.deletion_timestamp.is_some() && foreground { Owner::Waiting } else { Owner::Solid }
        }
        _ => Owner::Dangling,
    }
}
