//! Volumes for claims that wait for their first consumer: one that exists and fits, or one that can be provisioned.

use std::collections::BTreeMap;

use api_types::k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
    storage::v1::{CSIStorageCapacity, StorageClass},
};
use component_helpers::{labels, quantity};

use super::{BIND_CONFLICT, NO_SPACE, reaches};
use crate::{
    cache::NodeInfo,
    framework::{Context, Refusal},
};

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

fn class<'a>(cx: Context<'a>, claim: &PersistentVolumeClaim) -> Option<&'a StorageClass> {
    let name = claim.spec.as_ref()?.storage_class_name.as_ref()?;
    cx.snapshot.catalog.storage_classes.get(name).map(|c| &**c)
}

/// Whether the claim is bound only once a pod uses it.
pub(super) fn is_delayed(cx: Context<'_>, claim: &PersistentVolumeClaim) -> bool {
    class(cx, claim).is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// The smallest free volume that satisfies the claim on the node; one that is reserved for the claim goes first.
pub(super) fn volume<'a>(
    cx: Context<'a>,
    key: &str,
    claim: &PersistentVolumeClaim,
    node: &NodeInfo,
    taken: &BTreeMap<String, ()>,
) -> Option<&'a str> {
    let fitting = cx.snapshot.catalog.volumes.iter().filter(|(name, volume)| {
        !taken.contains_key(*name)
            && volume.metadata.deletion_timestamp.is_none()
            && satisfies(volume, key, claim)
            && reaches(volume, node)
    });
    let best = fitting.min_by_key(|(_, volume)| (claim_ref(volume).is_none(), storage(volume)));
    best.map(|(name, _)| name.as_str())
}

fn claim_ref(volume: &PersistentVolume) -> Option<String> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(format!(
        "{}/{}",
        reference.namespace.as_deref().unwrap_or_default(),
        reference.name.as_deref().unwrap_or_default()
    ))
}

fn storage(volume: &PersistentVolume) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|s| s.capacity.as_ref());
    capacity.and_then(|c| c.get("storage")).map_or(0, quantity::value)
}

fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let requests = claim.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    requests.and_then(|r| r.get("storage")).map_or(0, quantity::value)
}

fn satisfies(volume: &PersistentVolume, key: &str, claim: &PersistentVolumeClaim) -> bool {
    let (Some(offer), Some(want)) = (&volume.spec, &claim.spec) else { return false };
    if claim_ref(volume).is_some_and(|owner| owner != key) {
        return false;
    }
    let available =
        matches!(volume.status.as_ref().and_then(|s| s.phase.as_deref()), None | Some("Available" | "Pending"));
    let class = |name: &Option<String>| name.clone().unwrap_or_default();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let modes = offer.access_modes.as_deref().unwrap_or_default();
    available
        && class(&offer.storage_class_name) == class(&want.storage_class_name)
        && mode(&offer.volume_mode) == mode(&want.volume_mode)
        && offer.volume_attributes_class_name == want.volume_attributes_class_name
        && storage(volume) >= requested(claim)
        && want.access_modes.iter().flatten().all(|m| modes.contains(m))
        && want.selector.as_ref().is_none_or(|s| labels::matches(s, volume.metadata.labels.as_ref()))
}

/// Whether a volume for the claim can be made so that the node reaches it.
pub(super) fn can_provision(cx: Context<'_>, claim: &PersistentVolumeClaim, node: &NodeInfo) -> Result<(), Refusal> {
    let Some(class) = class(cx, claim).filter(|c| !c.provisioner.is_empty() && c.provisioner != NO_PROVISIONER) else {
        return Err(BIND_CONFLICT);
    };
    let allowed = class.allowed_topologies.as_deref().unwrap_or_default();
    if !allowed.is_empty() && !allowed.iter().any(|term| topology_matches(term, node)) {
        return Err(BIND_CONFLICT);
    }
    let driver = cx.snapshot.catalog.csi_drivers.get(&class.provisioner);
    if driver.is_none_or(|d| d.spec.storage_capacity != Some(true)) {
        return Ok(());
    }
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let enough = |c: &CSIStorageCapacity| {
        let limit = c.maximum_volume_size.as_ref().or(c.capacity.as_ref());
        c.storage_class_name == name
            && limit.is_some_and(|l| quantity::value(l) >= requested(claim))
            && labels::selects(c.node_topology.as_ref(), node.labels())
    };
    if cx.snapshot.catalog.capacities.values().any(|c| enough(c)) { Ok(()) } else { Err(NO_SPACE) }
}

fn topology_matches(term: &TopologySelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
    expressions.iter().all(|e| node.label(&e.key).is_some_and(|value| e.values.iter().any(|v| v == value)))
}
