//! Which volume fits a claim, and the phases of both. Pure.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{
        ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec,
    },
    storage::v1::StorageClass,
};
use component_helpers::{labels, quantity};
use kube::{Resource, ResourceExt};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_US: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What to do about a claim.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimStep {
    Nothing,
    Bind(Arc<PersistentVolume>),
    /// Ask the provisioner.
    Annotate(Box<PersistentVolumeClaim>),
    Phase {
        phase: &'static str,
        reason: &'static str,
        message: String,
    },
}

pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().contains_key(BIND_COMPLETED)
}

pub(super) fn claim(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    class: Option<&StorageClass>,
) -> ClaimStep {
    let default = PersistentVolumeClaimSpec::default();
    let spec = claim.spec.as_ref().unwrap_or(&default);
    if let Some(name) = spec.volume_name.as_deref().filter(|name| !name.is_empty()) {
        return named(claim, volumes.iter().find(|volume| volume.name_any() == name));
    }
    if let Some(volume) = volumes.iter().find(|volume| refers_to(volume, claim)) {
        return ClaimStep::Bind(volume.clone());
    }
    let waits = class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let placed = claim.annotations().contains_key(SELECTED_NODE);
    if waits && !placed {
        let message = "waiting for first consumer to be created before binding".to_owned();
        return ClaimStep::Phase { phase: "Pending", reason: "WaitForFirstConsumer", message };
    }
    let fitting = volumes.iter().filter(|volume| !waits && fits(volume, claim, spec));
    if let Some(volume) = fitting.min_by_key(|volume| (capacity(volume), volume.name_any())) {
        return ClaimStep::Bind(volume.clone());
    }
    provision(claim, class)
}

/// A claim that names its volume.
fn named(claim: &PersistentVolumeClaim, volume: Option<&Arc<PersistentVolume>>) -> ClaimStep {
    let lost = |message: &str| ClaimStep::Phase { phase: "Lost", reason: "ClaimLost", message: message.to_owned() };
    let Some(volume) = volume else {
        if is_bound(claim) {
            return lost("Bound claim has lost its PersistentVolume. Data on the volume is lost!");
        }
        return ClaimStep::Nothing;
    };
    let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    match reference {
        Some(_) if !refers_to(volume, claim) => {
            if is_bound(claim) {
                return lost("Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
            }
            ClaimStep::Nothing
        }
        _ if is_bound(claim)
            && claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound")
            && reference.is_some_and(|r| r.uid == claim.metadata.uid)
            && volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound") =>
        {
            ClaimStep::Nothing
        }
        _ => ClaimStep::Bind(volume.clone()),
    }
}

/// Asks the class's provisioner; without one, the claim waits for a volume.
fn provision(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> ClaimStep {
    let Some(class) = class.filter(|class| class.provisioner != NO_PROVISIONER) else {
        let message = "no persistent volumes available for this claim and no storage class is set".to_owned();
        return ClaimStep::Phase { phase: "Pending", reason: "FailedBinding", message };
    };
    let provisioner = &class.provisioner;
    if claim.annotations().get(PROVISIONER) == Some(provisioner) {
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
             administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        return ClaimStep::Phase { phase: "Pending", reason: "ExternalProvisioning", message };
    }
    let mut updated = claim.clone();
    for key in [PROVISIONER, PROVISIONER_BETA] {
        updated.annotations_mut().insert(key.to_owned(), provisioner.clone());
    }
    ClaimStep::Annotate(Box::new(updated))
}

/// Whether a volume's reference means this claim; one without uid was written by a user beforehand.
fn refers_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return false };
    let named = reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace;
    named && reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref())
}

fn capacity(volume: &PersistentVolume) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|s| s.capacity.as_ref());
    capacity.and_then(|c| c.get("storage")).map_or(0, quantity::value)
}

fn fits(volume: &PersistentVolume, claim: &PersistentVolumeClaim, wanted: &PersistentVolumeClaimSpec) -> bool {
    let default = PersistentVolumeSpec::default();
    let spec = volume.spec.as_ref().unwrap_or(&default);
    let free = spec.claim_ref.is_none() && volume.metadata.deletion_timestamp.is_none();
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
    let available = phase.is_none_or(|phase| phase == "Available" || phase == "Pending");
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let class = |class: &Option<String>| class.clone().unwrap_or_default();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let requests = wanted.resources.as_ref().and_then(|r| r.requests.as_ref());
    let request = requests.and_then(|r| r.get("storage")).map_or(0, quantity::value);
    let selected = wanted.selector.is_none() || labels::selects(wanted.selector.as_ref(), Some(volume.labels()));
    free && available
        && selected
        && class(&spec.storage_class_name) == class(&wanted.storage_class_name)
        && mode(&spec.volume_mode) == mode(&wanted.volume_mode)
        && wanted.access_modes.iter().flatten().all(|mode| modes.contains(mode))
        && capacity(volume) >= request
        && claim.metadata.deletion_timestamp.is_none()
}

/// The volume with a reference to the claim; none when it has it.
pub(super) fn volume_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let current = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
    if current.is_some_and(|r| r.uid.is_some() && r.uid == claim.metadata.uid) {
        return None;
    }
    let mut updated = volume.clone();
    if current.is_none() {
        updated.annotations_mut().insert(BOUND_BY_US.to_owned(), "yes".to_owned());
    }
    let reference = ObjectReference { resource_version: claim.resource_version(), ..claim.object_ref(&()) };
    updated.spec.get_or_insert_default().claim_ref = Some(reference);
    Some(updated)
}

/// The claim with the volume's name; none when it has it.
pub(super) fn claim_for(claim: &PersistentVolumeClaim, volume: &str) -> Option<PersistentVolumeClaim> {
    let mut updated = claim.clone();
    let spec = updated.spec.get_or_insert_default();
    if spec.volume_name.as_deref() != Some(volume) {
        spec.volume_name = Some(volume.to_owned());
        updated.annotations_mut().insert(BOUND_BY_US.to_owned(), "yes".to_owned());
    }
    updated.annotations_mut().insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
    (updated != *claim).then_some(updated)
}

/// The claim with the status of a bound one; none when it has it.
pub(super) fn bound_status(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<PersistentVolumeClaim> {
    let spec = volume.spec.as_ref()?;
    let mut updated = claim.clone();
    let status = updated.status.get_or_insert_default();
    status.phase = Some("Bound".to_owned());
    status.access_modes = spec.access_modes.clone();
    let known = status.capacity.as_ref().is_some_and(|c| c.contains_key("storage"));
    if !known {
        status.capacity = spec.capacity.clone();
    }
    (updated != *claim).then_some(updated)
}

/// The phase of a volume, given the claim that it refers to (by name), if that exists.
pub(super) fn volume_phase(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> &'static str {
    let Some(reference) = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref()) else { return "Available" };
    let reserved = reference.uid.as_ref().is_none_or(String::is_empty);
    match claim {
        _ if reserved => "Available",
        Some(claim) if claim.metadata.uid == reference.uid => {
            let names = claim.spec.as_ref().and_then(|s| s.volume_name.as_ref()) == volume.metadata.name.as_ref();
            // Between the two writes of a binding the volume is bound already.
            let unnamed = claim.spec.as_ref().and_then(|s| s.volume_name.as_ref()).is_none_or(String::is_empty);
            if names || unnamed { "Bound" } else { "Available" }
        }
        _ => "Released",
    }
}
