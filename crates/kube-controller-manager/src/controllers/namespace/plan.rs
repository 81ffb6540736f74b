//! What is left in a namespace, in conditions' words. Pure.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::FINALIZER;
use crate::discovery::{Discovered, Served};

/// What one round of deletion found.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Objects left, by group resource.
    pub(super) objects: BTreeMap<String, usize>,
    /// Objects that a finalizer holds, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// What could not be deleted or looked at.
    pub(super) errors: Vec<String>,
    /// Why discovery is incomplete.
    pub(super) discovery_error: Option<String>,
    /// Longest time that the remaining pods may take, in seconds.
    pub(super) estimate: i64,
}

impl Remains {
    /// Whether the namespace is known to be empty.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.errors.is_empty() && self.discovery_error.is_none()
    }
}

/// What to do first about a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Not being deleted, or not ours (any more).
    Nothing,
    /// Say that it terminates, before anything is deleted.
    MarkTerminating,
    /// Delete the content.
    DeleteContent,
}

pub(super) fn step(namespace: &Namespace) -> Step {
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref());
    if namespace.metadata.deletion_timestamp.is_none() || !finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
    {
        return Step::Nothing;
    }
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref());
    if phase == Some("Terminating") { Step::DeleteContent } else { Step::MarkTerminating }
}

/// What has to be deleted: pods first, then the rest.
pub(super) fn deletable(served: &Served) -> (Vec<&Discovered>, Vec<&Discovered>) {
    let deletable = |r: &&Discovered| r.namespaced && r.can("list") && (r.can("deletecollection") || r.can("delete"));
    served.resources.iter().filter(deletable).partition(|r| r.group.is_empty() && r.plural == "pods")
}

/// The namespace without our finalizer.
pub(super) fn finalized(namespace: &Namespace) -> Namespace {
    let mut namespace = namespace.clone();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
        finalizers.retain(|f| f != FINALIZER);
    }
    namespace
}

/// The status after a round; times move only where a condition changes.
pub(super) fn status(current: &NamespaceStatus, remains: &Remains, now: Timestamp) -> NamespaceStatus {
    let mut conditions = current.conditions.clone().unwrap_or_default();
    for (type_, bad, reason, message) in described(remains) {
        let status = if bad { "True" } else { "False" };
        let known = conditions.iter_mut().find(|c| c.type_ == type_);
        match known {
            Some(c)
                if c.status == status
                    && c.reason.as_deref() == Some(reason)
                    && c.message.as_ref() == Some(&message) => {}
            Some(c) => {
                if c.status != status {
                    c.last_transition_time = Some(Time(now));
                }
                (c.status, c.reason, c.message) = (status.to_owned(), Some(reason.to_owned()), Some(message));
            }
            None => conditions.push(NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    NamespaceStatus { conditions: Some(conditions), ..current.clone() }
}

type Described = (&'static str, bool, &'static str, String);

fn described(remains: &Remains) -> [Described; 5] {
    let list = |items: Vec<String>| items.join(", ");
    let objects = remains.objects.iter().map(|(r, n)| format!("{r} has {n} resource instances")).collect();
    let finalizers = remains.finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let choose = |type_, bad: bool, reasons: [&'static str; 2], good: &str, message: String| {
        if bad { (type_, true, reasons[0], message) } else { (type_, false, reasons[1], good.to_owned()) }
    };
    [
        choose(
            "NamespaceDeletionDiscoveryFailure",
            remains.discovery_error.is_some(),
            ["DiscoveryFailed", "ResourcesDiscovered"],
            "All resources successfully discovered",
            format!("Discovery failed for some groups, {}", remains.discovery_error.as_deref().unwrap_or_default()),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        choose(
            "NamespaceDeletionContentFailure",
            !remains.errors.is_empty(),
            ["ContentDeletionFailed", "ContentDeleted"],
            "All content successfully deleted, may be waiting on finalization",
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                remains.errors.len(),
                remains.errors.join(", ")
            ),
        ),
        choose(
            "NamespaceContentRemaining",
            !remains.objects.is_empty(),
            ["SomeResourcesRemain", "ContentRemoved"],
            "All content successfully removed",
            format!("Some resources are remaining: {}", list(objects)),
        ),
        choose(
            "NamespaceFinalizersRemaining",
            !remains.finalizers.is_empty(),
            ["SomeFinalizersRemain", "ContentHasNoFinalizers"],
            "All content-preserving finalizers finished",
            format!("Some content in the namespace has finalizers remaining: {}", list(finalizers)),
        ),
    ]
}
