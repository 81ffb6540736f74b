//! What a pod's claims and a claim's users need. Pure.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        core::v1::{Pod, PodResourceClaim},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use component_helpers::pods as helpers;
use controller_runtime::owner;
use kube::ResourceExt;

/// Which of the pod's claims a claim was made for.
pub(super) const ANNOTATION: &str = "resource.kubernetes.io/pod-claim-name";
/// What keeps a claim with devices from vanishing.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// No claim is shared by more pods.
const MOST_USERS: usize = 256;
/// A generated name's base: it leaves room for a hyphen and five characters.
const LONGEST_BASE: usize = 57;

/// What one of a pod's claims needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// There is a claim for it that the pod's status does not name yet.
    Remember(String),
    /// A claim from this template.
    Make(String),
}

/// The claim that the pod's status names; `Some(None)`: it needs none.
fn named<'p>(pod: &'p Pod, reference: &PodResourceClaim) -> Option<Option<&'p str>> {
    let statuses = pod.status.iter().flat_map(|s| s.resource_claim_statuses.iter().flatten());
    let status = statuses.into_iter().find(|s| s.name == reference.name)?;
    Some(status.resource_claim_name.as_deref())
}

/// The names of the claims that the pod uses, as far as they are known.
pub(super) fn claim_names(pod: &Pod) -> Vec<&str> {
    let references = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let known = references.filter_map(|reference| match &reference.resource_claim_name {
        Some(name) => Some(name.as_str()),
        None => named(pod, reference).flatten(),
    });
    let extended = pod.status.iter().filter_map(|s| s.extended_resource_claim_status.as_ref());
    known.chain(extended.map(|status| status.resource_claim_name.as_str())).collect()
}

/// What the pod's claim needs; `owned`: the claims that the pod controls.
pub(super) fn step(pod: &Pod, reference: &PodResourceClaim, owned: &[Arc<ResourceClaim>]) -> Step {
    let Some(template) = &reference.resource_claim_template_name else { return Step::Nothing };
    match named(pod, reference) {
        Some(None) => return Step::Nothing,
        Some(Some(name)) if owned.iter().any(|claim| claim.name_any() == name) => return Step::Nothing,
        _ => {}
    }
    let made_for = |claim: &&Arc<ResourceClaim>| claim.annotations().get(ANNOTATION) == Some(&reference.name);
    match owned.iter().find(made_for) {
        Some(claim) => Step::Remember(claim.name_any()),
        None => Step::Make(template.clone()),
    }
}

/// The claim that a template makes for the pod.
pub(super) fn claim(pod: &Pod, reference: &str, template: &ResourceClaimTemplate) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(ANNOTATION.to_owned(), reference.to_owned());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(base(&pod.name_any(), reference)),
            namespace: pod.namespace(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_ref(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// Both names, shortened in proportion where they are too long.
fn base(pod: &str, reference: &str) -> String {
    let whole = format!("{pod}-{reference}-");
    if whole.len() <= LONGEST_BASE {
        return whole;
    }
    let share = |text: &str| text[..text.len() * LONGEST_BASE / whole.len()].to_owned();
    format!("{}-{}", share(pod), share(reference))
}

/// Whether no container of the pod runs or ever will.
pub(super) fn is_done(pod: &Pod) -> bool {
    helpers::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && helpers::node_name(pod).is_none())
}

/// Whether a bound pod still has to be entered into the claim's status: pods that did not pass the scheduler.
pub(super) fn wants_reservation(pod: &Pod, claim: &ResourceClaim) -> bool {
    let allocated = claim.status.as_ref().is_some_and(|s| s.allocation.is_some());
    let uid = pod.uid().unwrap_or_default();
    allocated && users(claim).len() < MOST_USERS && !users(claim).iter().any(|user| user.uid == uid)
}

pub(super) fn users(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|s| s.reserved_for.as_deref()).unwrap_or_default()
}

/// What a claim needs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Cleanup {
    /// The users that are left, where some are gone.
    pub(super) users: Option<Vec<ResourceClaimConsumerReference>>,
    /// Take its devices away.
    pub(super) deallocate: bool,
    /// Let it vanish.
    pub(super) unprotect: bool,
    /// Delete it: the pod that it was made for needs it no more.
    pub(super) delete: bool,
}

/// What the claim needs, given the users that are left; `owner`: the pod that it was made for, where it is known.
pub(super) fn cleanup(
    claim: &ResourceClaim,
    left: Vec<ResourceClaimConsumerReference>,
    owner_pod: Option<&Pod>,
) -> Cleanup {
    let gone = left.len() < users(claim).len();
    let unused = left.is_empty();
    let protected = claim.finalizers().iter().any(|f| f == FINALIZER);
    let allocated = claim.status.as_ref().is_some_and(|s| s.allocation.is_some());
    let deleting = claim.metadata.deletion_timestamp.is_some();
    // A claim that nobody ever used keeps its devices; one that lost its last user gives them up.
    let deallocate = allocated && protected && unused && (gone || deleting);
    let without_devices = !allocated || deallocate;
    Cleanup {
        users: gone.then_some(left),
        deallocate,
        unprotect: protected && without_devices && (gone || (deleting && unused)),
        delete: unused && !deleting && owner_pod.is_some_and(|pod| is_finished_with(claim, pod)),
    }
}

/// Whether the pod of the owner's name is another one by now, or will not run any more.
fn is_finished_with(claim: &ResourceClaim, pod: &Pod) -> bool {
    !owner::is_controlled_by(&claim.metadata, &pod.uid().unwrap_or_default()) || is_done(pod)
}
