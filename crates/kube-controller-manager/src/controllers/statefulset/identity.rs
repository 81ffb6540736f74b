//! Names, labels and claims of the pods. Pure.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use controller_runtime::owner;
use kube::ResourceExt;

use crate::{history, pods};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in a pod's name, when it is one of the set's.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    let plain = number == "0" || !number.starts_with('0');
    number.parse().ok().filter(|_| plain && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the set wants a pod of this ordinal now.
pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    let Some(spec) = &set.spec else { return false };
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default();
    (start..start.saturating_add(spec.replicas.unwrap_or(1))).contains(&ordinal)
}

pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default()
}

/// The claims of a pod.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selected = set.spec.as_ref().and_then(|s| s.selector.match_labels.clone()).unwrap_or_default();
    let claim = |template: &PersistentVolumeClaim| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(selected.clone());
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(claim_name(set, template, ordinal)),
                namespace: set.namespace(),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    claim_templates(set).iter().map(claim).collect()
}

/// The pod of an ordinal, from a revision's template.
pub(super) fn pod(set: &StatefulSet, template: &PodTemplateSpec, ordinal: i32, revision: &str) -> Pod {
    let name = pod_name(set, ordinal);
    let mut pod = pods::from_template(template, &owner::controller_ref(set), &set.namespace().unwrap_or_default());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let own = [(POD_NAME, name.clone()), (POD_INDEX, ordinal.to_string()), (history::HASH_LABEL, revision.to_owned())];
    pod.labels_mut().extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<BTreeMap<_, _>>());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.as_ref().and_then(|s| s.service_name.clone()).filter(|name| !name.is_empty());
    let templates = claim_templates(set);
    let mut volumes = spec.volumes.take().unwrap_or_default();
    volumes.retain(|volume| !templates.iter().any(|template| template.name_any() == volume.name));
    volumes.extend(templates.iter().map(|template| Volume {
        name: template.name_any(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, template, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    }));
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}

/// The revision that a pod was made from.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(history::HASH_LABEL).map(String::as_str).unwrap_or_default()
}
