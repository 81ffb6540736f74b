//! Looks objects and owners up, decides, deletes.

use std::sync::Arc;

use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use controller_runtime::{Action, BoxError, Outcome};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde_json::json;

use super::{
    Collector, FOREGROUND, ORPHAN,
    graph::Node,
    plan::{self, Decision, Owner, Propagation},
};
use crate::discovery::{Discovered, Discovery};

pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) discovery: Discovery,
    pub(super) collector: Arc<Collector>,
}

/// An object's API and its metadata as the API server has it.
struct Live {
    api: Api<DynamicObject>,
    meta: ObjectMeta,
}

impl Worker {
    /// Looks at an object that may have to be deleted.
    pub(super) async fn delete(self: Arc<Self>, uid: String) -> Outcome {
        let Some(node) = self.collector.graph.lock().get(&uid).cloned() else { return Ok(Action::Done) };
        if node.deleting && !node.foreground {
            return Ok(Action::Done);
        }
        let Some(live) = self.live(&node, &uid).await? else {
            // Gone, and nobody told: as if its deletion had been seen.
            let work = self.collector.graph.lock().remove(&uid);
            self.collector.add(work);
            return Ok(Action::Done);
        };
        if node.foreground {
            return self.foreground(&uid, &live).await;
        }
        if node.is_virtual || live.meta.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let mut owners = Vec::new();
        for reference in live.meta.owner_references.iter().flatten() {
            let Some(owner) = self.owner(reference, &node.namespace).await? else { return Ok(Action::Done) };
            owners.push(owner);
        }
        let circle = {
            let graph = self.collector.graph.lock();
            node.dependents.iter().filter_map(|uid| graph.get(uid)).any(|dependent| dependent.foreground)
        };
        self.apply(&live, plan::decide(&live.meta, &owners, !node.dependents.is_empty(), circle)).await
    }

    async fn apply(&self, live: &Live, decision: Decision) -> Outcome {
        match decision {
            Decision::Keep => {}
            Decision::Patch(owners) => self.patch_owners(live, &owners).await?,
            Decision::Delete { propagation, unblock } => {
                if unblock {
                    let mut owners = live.meta.owner_references.clone().unwrap_or_default();
                    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = None);
                    self.patch_owners(live, &owners).await?;
                }
                let policy = match propagation {
                    Propagation::Background => PropagationPolicy::Background,
                    Propagation::Foreground => PropagationPolicy::Foreground,
                    Propagation::Orphan => PropagationPolicy::Orphan,
                };
                let resource_version = (!unblock).then(|| live.meta.resource_version.clone()).flatten();
                let params = DeleteParams {
                    propagation_policy: Some(policy),
                    preconditions: Some(Preconditions { uid: live.meta.uid.clone(), resource_version }),
                    ..DeleteParams::default()
                };
                tracing::debug!(name = ?live.meta.name, namespace = ?live.meta.namespace, "deleting garbage");
                ignore_gone(live.api.delete(live.meta.name.as_deref().unwrap_or_default(), &params).await.map(drop))?;
            }
        }
        Ok(Action::Done)
    }

    /// An owner in foreground deletion: goes on when nothing blocks it.
    async fn foreground(&self, uid: &str, live: &Live) -> Outcome {
        let blocking = self.collector.graph.lock().blocking(uid);
        if blocking.is_empty() {
            self.remove_finalizer(live, FOREGROUND).await?;
        }
        for (dependent, waits) in blocking {
            if !waits {
                self.collector.deletions.add(dependent);
            }
        }
        Ok(Action::Done)
    }

    /// Lets the dependents of an owner go, then the owner.
    pub(super) async fn orphan(self: Arc<Self>, uid: String) -> Outcome {
        let Some(node) = self.collector.graph.lock().get(&uid).cloned() else { return Ok(Action::Done) };
        for dependent in &node.dependents {
            let Some(child) = self.collector.graph.lock().get(dependent).cloned() else { continue };
            let Some(live) = self.live(&child, dependent).await? else { continue };
            let mut owners = live.meta.owner_references.clone().unwrap_or_default();
            let before = owners.len();
            owners.retain(|owner| owner.uid != uid);
            if owners.len() != before {
                self.patch_owners(&live, &owners).await?;
            }
        }
        if let Some(live) = self.live(&node, &uid).await? {
            self.remove_finalizer(&live, ORPHAN).await?;
        }
        Ok(Action::Done)
    }

    /// The object of a node; none when it is gone or replaced.
    async fn live(&self, node: &Node, uid: &str) -> Result<Option<Live>, BoxError> {
        let resource = self.resource(&node.api_version, &node.kind).await?;
        if resource.namespaced && node.namespace.is_empty() {
            // Known only from a cluster-scoped dependent, which cannot have a namespaced owner.
            return Ok(None);
        }
        let api = self.api(&resource, &node.namespace);
        let found = api.get_metadata_opt(&node.name).await?;
        let found = found.filter(|found| found.metadata.uid.as_deref() == Some(uid));
        Ok(found.map(|found| Live { api, meta: found.metadata }))
    }

    /// What an owner reference leads to; none when that cannot be told, and so nothing must be deleted.
    async fn owner(&self, reference: &OwnerReference, namespace: &str) -> Result<Option<Owner>, BoxError> {
        let resource = self.resource(&reference.api_version, &reference.kind).await?;
        if resource.namespaced && namespace.is_empty() {
            tracing::warn!(owner = %reference.name, kind = %reference.kind, "a cluster-scoped object has a namespaced owner");
            return Ok(None);
        }
        let found = self.api(&resource, namespace).get_metadata_opt(&reference.name).await?;
        Ok(Some(plan::owner(reference, found.as_ref().map(|found| &found.metadata))))
    }

    async fn resource(&self, api_version: &str, kind: &str) -> Result<Discovered, BoxError> {
        let served = self.discovery.served().await?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let same = |r: &&Discovered| r.group == group && r.kind == kind && r.versions.iter().any(|v| v == version);
        served.resources.iter().find(same).cloned().ok_or_else(|| format!("{api_version} {kind} is not served").into())
    }

    fn api(&self, resource: &Discovered, namespace: &str) -> Api<DynamicObject> {
        let api_resource = resource.api_resource();
        if resource.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &api_resource)
        } else {
            Api::all_with(self.client.clone(), &api_resource)
        }
    }

    async fn patch_owners(&self, live: &Live, owners: &[OwnerReference]) -> Result<(), BoxError> {
        self.patch(live, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, live: &Live, finalizer: &str) -> Result<(), BoxError> {
        let finalizers = live.meta.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let left: Vec<_> = finalizers.into_iter().filter(|f| f != finalizer).collect();
        self.patch(live, json!({"finalizers": left})).await
    }

    /// Patches metadata, if the object is still as it was read.
    async fn patch(&self, live: &Live, mut metadata: serde_json::Value) -> Result<(), BoxError> {
        metadata["uid"] = json!(live.meta.uid);
        metadata["resourceVersion"] = json!(live.meta.resource_version);
        let name = live.meta.name.as_deref().unwrap_or_default();
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let result = live.api.patch_metadata(name, &PatchParams::default(), &patch).await;
        ignore_gone(result.map(|patched| tracing::trace!(name = %patched.name_any(), "patched")))
    }
}

/// What is gone needs nothing more.
fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), BoxError> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map_err(Into::into),
    }
}
