//! The claims of a pod.

use std::sync::Arc;

use api_types::k8s_openapi::api::resource::v1::ResourceClaim;

use super::needs::key;
use crate::cache::{PodInfo, catalog::Catalog};

/// No claim is shared by more pods.
const MOST_USERS: usize = 256;

/// The pod's claims that exist by now: by name, or made from a template, which the pod's status names. A claim that the template's
/// controller found needless is left out.
///
/// # Errors
/// Says which claim is missing, going, or somebody else's.
pub(super) fn of_pod<'c>(pod: &PodInfo, catalog: &'c Catalog) -> Result<Vec<&'c Arc<ResourceClaim>>, String> {
    let references = pod.spec().and_then(|s| s.resource_claims.as_deref()).unwrap_or_default();
    let mut claims = Vec::with_capacity(references.len());
    for reference in references {
        let template = reference.resource_claim_template_name.is_some();
        let name = match &reference.resource_claim_name {
            Some(name) => name,
            None if template => {
                let statuses = pod.pod.status.iter().flat_map(|s| s.resource_claim_statuses.iter().flatten());
                match statuses.into_iter().find(|s| s.name == reference.name) {
                    None => return Err(format!("pod {:?}: ResourceClaim not created yet", pod.key)),
                    Some(status) => match &status.resource_claim_name {
                        None => continue,
                        Some(name) => name,
                    },
                }
            }
            None => {
                let (key, name) = (&pod.key, &reference.name);
                return Err(format!("pod {key:?}, spec.resourceClaim {name:?}: none of the supported fields are set"));
            }
        };
        let found = catalog.resource_claims.get(&format!("{}/{name}", pod.namespace()));
        let claim = found.ok_or_else(|| format!("resourceclaim {name:?} not found"))?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {name:?} is being deleted"));
        }
        if template && !is_owned_by(claim, pod) {
            let claim = key(claim);
            return Err(format!("ResourceClaim {claim} was not created for pod {} (pod is not owner)", pod.key));
        }
        claims.push(claim);
    }
    Ok(claims)
}

/// Whether the pod is the claim's controller.
pub(super) fn is_owned_by(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    let owners = claim.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == *pod.uid)
}

/// Whether the claim has its devices.
pub(super) fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
}

/// Whether the pod may use the claim by its status.
pub(super) fn is_reserved_for(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    users(claim).iter().any(|user| user.uid == *pod.uid)
}

/// Whether one more pod may use the claim.
pub(super) fn has_room(claim: &ResourceClaim) -> bool {
    users(claim).len() < MOST_USERS
}

pub(super) fn users(
    claim: &ResourceClaim,
) -> &[api_types::k8s_openapi::api::resource::v1::ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}
