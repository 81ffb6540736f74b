//! What plugins want written before a binding, and what decisions assume of it until the watch shows it.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    core::v1::{ContainerExtendedResourceRequest, PersistentVolume},
    resource::v1::{AllocationResult, ResourceClaim},
};

use crate::cache::catalog::Catalog;

/// Something the binder writes before the binding, and waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Binds a claim to a volume: the claim's key, the volume's name.
    BindVolume {
        /// `namespace/name` of the claim.
        claim: String,
        /// The volume.
        volume: String,
    },
    /// Asks for a volume that the node can reach.
    SelectNode {
        /// `namespace/name` of the claim.
        claim: String,
        /// The node.
        node: String,
    },
    /// Lets the pod use a resource claim.
    UseClaim {
        /// The claim, as the decision saw it.
        claim: Arc<ResourceClaim>,
        /// Its devices, where it had none.
        allocation: Option<Box<AllocationResult>>,
    },
    /// Makes the claim for extended resources that devices stand behind.
    MakeClaim {
        /// The claim, without a name.
        claim: Box<ResourceClaim>,
        /// Its devices.
        allocation: Box<AllocationResult>,
        /// Which request serves which container.
        mappings: Vec<ContainerExtendedResourceRequest>,
    },
}

/// Marks the claim that the scheduler makes for a pod's extended resources.
pub(crate) const EXTENDED_CLAIM: &str = "resource.kubernetes.io/extended-resource-claim";

/// A write, and the plugin that wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plugin's name.
    pub plugin: &'static str,
    /// What to write.
    pub write: Write,
    /// How long it may take to come true.
    pub patience: Duration,
}

/// A change of the catalog that runs ahead of the API server.
#[derive(Debug)]
pub(crate) enum Assumed {
    /// A volume that is taken: as it was, and as it is assumed to be.
    Volume(Arc<PersistentVolume>, Arc<PersistentVolume>),
    /// A claim that has its devices, by its key.
    Claim(String),
    /// A claim that is made, by [`extended_key`].
    Extended(String),
}

impl Write {
    /// Makes other decisions see what will be written.
    pub(crate) fn assume(&self, catalog: &mut Catalog) -> Option<Assumed> {
        match self {
            Write::BindVolume { claim, volume } => {
                let before = catalog.volumes.get(volume)?.clone();
                let (namespace, name) = claim.split_once('/').unwrap_or(("", claim));
                let mut taken = (*before).clone();
                let reference = taken.spec.get_or_insert_default().claim_ref.get_or_insert_default();
                reference.namespace = Some(namespace.to_owned());
                reference.name = Some(name.to_owned());
                let taken = Arc::new(taken);
                catalog.volumes.insert(volume.clone(), taken.clone());
                Some(Assumed::Volume(before, taken))
            }
            Write::UseClaim { claim, allocation: Some(allocation) } => {
                let mut allocated = (**claim).clone();
                allocated.status.get_or_insert_default().allocation = Some((**allocation).clone());
                let key = claim_key(claim);
                catalog.allocating.insert(key.clone(), Arc::new(allocated));
                Some(Assumed::Claim(key))
            }
            Write::MakeClaim { claim, allocation, .. } => {
                let key = extended_key(claim)?;
                let mut allocated = (**claim).clone();
                allocated.status.get_or_insert_default().allocation = Some((**allocation).clone());
                catalog.allocating.insert(key.clone(), Arc::new(allocated));
                Some(Assumed::Extended(key))
            }
            Write::SelectNode { .. } | Write::UseClaim { allocation: None, .. } => None,
        }
    }
}

impl Assumed {
    /// Takes the assumption back, unless the watch has told better since.
    pub(crate) fn undo(self, catalog: &mut Catalog) {
        match self {
            Assumed::Volume(before, assumed) => {
                let name = before.metadata.name.clone().unwrap_or_default();
                if catalog.volumes.get(&name).is_some_and(|now| Arc::ptr_eq(now, &assumed)) {
                    catalog.volumes.insert(name, before);
                }
            }
            Assumed::Claim(key) | Assumed::Extended(key) => drop(catalog.allocating.remove(&key)),
        }
    }

    /// What was assumed is written: `claims` are the answers of the API server, which may be ahead of the watch. A claim that was made
    /// stays assumed until the watch shows it.
    pub(crate) fn settle(self, catalog: &mut Catalog, claims: &[ResourceClaim]) {
        let Assumed::Claim(key) = self else { return };
        catalog.allocating.remove(&key);
        let Some(written) = claims.iter().find(|claim| claim_key(claim) == key) else { return };
        let known = catalog.resource_claims.get(&key);
        if known.is_some_and(|known| known.metadata.uid == written.metadata.uid && revision(known) < revision(written))
        {
            catalog.resource_claims.insert(key, Arc::new(written.clone()));
        }
    }
}

/// `namespace/name`.
pub(crate) fn claim_key(claim: &ResourceClaim) -> String {
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", of(&claim.metadata.namespace), of(&claim.metadata.name))
}

/// What stands for the claim of a pod's extended resources until it has a name; nothing for other claims.
pub(crate) fn extended_key(claim: &ResourceClaim) -> Option<String> {
    claim.metadata.annotations.as_ref()?.get(EXTENDED_CLAIM)?;
    let owner = claim.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(extended_key_of(&owner.uid))
}

/// [`extended_key`] by the pod's UID.
pub(crate) fn extended_key_of(uid: &str) -> String {
    format!("<extended-resources>/{uid}")
}

fn revision(claim: &ResourceClaim) -> Option<u64> {
    claim.metadata.resource_version.as_deref().and_then(|version| version.parse().ok())
}
