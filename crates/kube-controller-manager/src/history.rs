//! Revisions of a pod template as ControllerRevisions (what StatefulSets and DaemonSets keep their history in). The decisions are pure;
//! [`HistoryControl`] writes.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, OwnerReference},
        runtime::RawExtension,
    },
};
use controller_runtime::BoxError;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::hash;

/// The label of revisions and of the pods made from them.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";

/// What to do so that the newest revision is the template's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It is already.
    Keep(Arc<ControllerRevision>),
    /// An older one is the template's: make it the newest.
    Renumber(ControllerRevision),
    /// None is.
    Create(ControllerRevision),
}

/// The template as a revision stores it: a patch of the parent.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that a revision stores.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// The label value of a revision's pods: its hash, or, for revisions of others, its name.
pub(crate) fn hash_of(revision: &ControllerRevision) -> String {
    revision.labels().get(HASH_LABEL).cloned().unwrap_or_else(|| revision.name_any())
}

/// Sorts by number, then age, then name.
pub(crate) fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by_key(|r| (r.revision, r.creation_timestamp().map(|t| t.0), r.name_any()));
}

/// Compares the template with the (sorted) revisions. Names collide rarely; then the count makes another.
pub(crate) fn plan(
    owner: &OwnerReference,
    namespace: &str,
    wanted: &PodTemplateSpec,
    revisions: &[Arc<ControllerRevision>],
    collisions: Option<i32>,
) -> Step {
    let same = |r: &&Arc<ControllerRevision>| template(r).as_ref() == Some(wanted);
    let newest = revisions.last().map_or(0, |r| r.revision);
    match revisions.iter().rev().find(same) {
        Some(found) if found.revision == newest => Step::Keep(found.clone()),
        Some(found) => Step::Renumber(ControllerRevision { revision: newest + 1, ..found.as_ref().clone() }),
        None => {
            let hash = hash::template_hash(wanted, collisions);
            let mut labels = wanted.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
            labels.insert(HASH_LABEL.to_owned(), hash.clone());
            let metadata = ObjectMeta {
                name: Some(format!("{}-{hash}", owner.name)),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels),
                owner_references: Some(vec![owner.clone()]),
                ..ObjectMeta::default()
            };
            let data = Some(RawExtension(data(wanted)));
            Step::Create(ControllerRevision { metadata, data, revision: newest + 1 })
        }
    }
}

/// Old revisions beyond the limit that nothing uses any more.
pub(crate) fn superfluous(
    revisions: &[Arc<ControllerRevision>],
    in_use: impl Fn(&ControllerRevision) -> bool,
    limit: Option<i32>,
) -> Vec<Arc<ControllerRevision>> {
    let old: Vec<_> = revisions.iter().filter(|r| !in_use(r)).cloned().collect();
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or_default();
    let excess = old.len().saturating_sub(limit);
    old.into_iter().take(excess).collect()
}

/// Writes revisions.
#[derive(Clone)]
pub(crate) struct HistoryControl {
    pub(crate) client: Client,
}

impl HistoryControl {
    pub(crate) fn api(&self, namespace: &str) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Carries a step out; none when the name was taken by another template.
    pub(crate) async fn apply(&self, namespace: &str, step: Step) -> Result<Option<Arc<ControllerRevision>>, BoxError> {
        let api = self.api(namespace);
        match step {
            Step::Keep(revision) => Ok(Some(revision)),
            Step::Renumber(revision) => {
                let renumbered = api.replace(&revision.name_any(), &PostParams::default(), &revision).await?;
                Ok(Some(Arc::new(renumbered)))
            }
            Step::Create(revision) => match api.create(&PostParams::default(), &revision).await {
                Ok(created) => Ok(Some(Arc::new(created))),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    let there = api.get(&revision.name_any()).await?;
                    let same = there.data == revision.data
                        && there.metadata.owner_references == revision.metadata.owner_references;
                    Ok(same.then(|| Arc::new(there)))
                }
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(crate) async fn delete(&self, namespace: &str, old: &[Arc<ControllerRevision>]) -> Result<(), BoxError> {
        for revision in old {
            match self.api(namespace).delete(&revision.name_any(), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled(value: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": {"v": value}}})).unwrap()
    }

    fn owner() -> OwnerReference {
        OwnerReference { name: "web".into(), ..Default::default() }
    }

    #[test]
    fn a_template_gets_one_revision_and_an_old_one_comes_back() {
        let Step::Create(first) = plan(&owner(), "ns", &labelled("1"), &[], None) else { panic!("not created") };
        assert_eq!((first.revision, template(&first)), (1, Some(labelled("1"))));
        assert_eq!(first.name_any(), format!("web-{}", hash_of(&first)));
        let first = Arc::new(first);
        assert_eq!(plan(&owner(), "ns", &labelled("1"), std::slice::from_ref(&first), None), Step::Keep(first.clone()));
        let Step::Create(second) = plan(&owner(), "ns", &labelled("2"), std::slice::from_ref(&first), None) else {
            panic!("not created")
        };
        assert_eq!(second.revision, 2);
        let all = [first, Arc::new(second)];
        let Step::Renumber(back) = plan(&owner(), "ns", &labelled("1"), &all, None) else { panic!("not renumbered") };
        assert_eq!((back.revision, back.name_any()), (3, all[0].name_any()));
        assert_eq!(superfluous(&all, |r| r.revision == 2, Some(0)), all[..1]);
        assert!(superfluous(&all, |_| false, Some(2)).is_empty());
    }
}
