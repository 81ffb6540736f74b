//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::plan::{self, ClaimStep};

fn volume(name: &str, size: &str, change: Value) -> Arc<PersistentVolume> {
    let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "s"});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
}

fn claim(change: Value) -> PersistentVolumeClaim {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "s", "resources": {"requests": {"storage": "5Gi"}}});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "ns", "uid": "u"}, "spec": spec})).unwrap()
}

fn class(mode: &str) -> StorageClass {
    serde_json::from_value(
        json!({"metadata": {"name": "s"}, "provisioner": "example.com/p", "volumeBindingMode": mode}),
    )
    .unwrap()
}

fn bound_to(step: &ClaimStep) -> Option<String> {
    match step {
        ClaimStep::Bind(volume) => Some(volume.name_any()),
        _ => None,
    }
}

#[test]
fn the_smallest_fitting_volume_wins() {
    let all = [volume("big", "50Gi", json!({})), volume("fit", "5Gi", json!({})), volume("small", "1Gi", json!({}))];
    assert_eq!(bound_to(&plan::claim(&claim(json!({})), &all, None)).as_deref(), Some("fit"));
    for change in [
        json!({"storageClassName": "other"}),
        json!({"accessModes": ["ReadWriteMany"]}),
        json!({"volumeMode": "Block"}),
        json!({"selector": {"matchLabels": {"a": "b"}}}),
        json!({"resources": {"requests": {"storage": "1Ti"}}}),
    ] {
        assert_eq!(bound_to(&plan::claim(&claim(change.clone()), &all, None)), None, "{change}");
    }
}

#[test]
fn a_volume_reserved_for_a_claim_is_its_alone() {
    let reserved = volume("r", "1Gi", json!({"claimRef": {"namespace": "ns", "name": "c"}}));
    let taken = volume("t", "5Gi", json!({"claimRef": {"namespace": "ns", "name": "x", "uid": "y"}}));
    assert_eq!(bound_to(&plan::claim(&claim(json!({})), &[taken.clone(), reserved], None)).as_deref(), Some("r"));
    assert_eq!(bound_to(&plan::claim(&claim(json!({})), &[taken], None)), None);
}

#[test]
fn waiting_and_provisioning() {
    let wait = plan::claim(&claim(json!({})), &[volume("v", "5Gi", json!({}))], Some(&class("WaitForFirstConsumer")));
    assert!(matches!(wait, ClaimStep::Phase { reason: "WaitForFirstConsumer", .. }));
    let ClaimStep::Annotate(asked) = plan::claim(&claim(json!({})), &[], Some(&class("Immediate"))) else {
        panic!("not asked")
    };
    assert_eq!(asked.annotations()["volume.kubernetes.io/storage-provisioner"], "example.com/p");
    let step = plan::claim(&asked, &[], Some(&class("Immediate")));
    assert!(matches!(step, ClaimStep::Phase { reason: "ExternalProvisioning", .. }));
    assert!(matches!(plan::claim(&claim(json!({})), &[], None), ClaimStep::Phase { reason: "FailedBinding", .. }));
}

#[test]
fn binding_settles_and_loss_is_told() {
    let (mut claim, volume) = (claim(json!({})), volume("v", "5Gi", json!({})));
    let mut volume = plan::volume_for(&volume, &claim).unwrap();
    assert_eq!(plan::volume_phase(&volume, Some(&claim)), "Bound");
    volume.status = Some(serde_json::from_value(json!({"phase": "Bound"})).unwrap());
    claim = plan::claim_for(&claim, "v").unwrap();
    claim = plan::bound_status(&claim, &volume).unwrap();
    assert!(plan::volume_for(&volume, &claim).is_none() && plan::claim_for(&claim, "v").is_none());
    assert!(plan::bound_status(&claim, &volume).is_none());
    let volume = Arc::new(volume);
    assert_eq!(plan::claim(&claim, std::slice::from_ref(&volume), None), ClaimStep::Nothing);
    assert!(matches!(plan::claim(&claim, &[], None), ClaimStep::Phase { phase: "Lost", .. }));
    assert_eq!(plan::volume_phase(&volume, None), "Released");
    claim.metadata.uid = Some("another".into());
    assert_eq!(plan::volume_phase(&volume, Some(&claim)), "Released");
}

#[test]
fn phases_of_free_and_reserved_volumes() {
    assert_eq!(plan::volume_phase(&volume("v", "1Gi", json!({})), None), "Available");
    assert_eq!(plan::volume_phase(&volume("v", "1Gi", json!({"claimRef": {"name": "c"}})), None), "Available");
}
