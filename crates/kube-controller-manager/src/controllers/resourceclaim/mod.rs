//! Makes resource claims from the templates that pods name, and looks after who uses claims: a claim whose last user is gone gives its
//! devices up, one that was made for a pod goes with it.

mod plan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
};
use component_helpers::pods as helpers;
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue, owner};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{context::Context, pods};
use plan::{Step, users};

const BY_OWNER: &str = "owner";
const MANAGER: &str = "ResourceClaimController";

struct Claims {
    client: Client,
    recorder: EventRecorder,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
    templates: Store<ResourceClaimTemplate>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let (pods, claims) = (context.informer::<Pod>(), context.informer::<ResourceClaim>());
    let templates = context.informer::<ResourceClaimTemplate>();
    claims.store().add_index(BY_OWNER, owner::index_by_controller);
    let (pod_queue, claim_queue) = (WorkQueue::new(), WorkQueue::new());

    let (to_pods, to_claims) = (pod_queue.clone(), claim_queue.clone());
    let owned = claims.store().clone();
    pods.on_event(move |event| {
        let pod = event.object();
        let namespace = pod.namespace().unwrap_or_default();
        if pod.spec.as_ref().is_some_and(|s| s.resource_claims.as_ref().is_some_and(|c| !c.is_empty())) {
            to_pods.add(ObjectKey::of(pod.as_ref()));
        }
        if event.is_deleted() || plan::is_done(pod) {
            let used = plan::claim_names(pod).into_iter().map(str::to_owned);
            let made = owned.by_index(BY_OWNER, &pod.uid().unwrap_or_default()).into_iter().map(|c| c.name_any());
            used.chain(made).for_each(|name| to_claims.add(ObjectKey::new(namespace.clone(), name)));
        }
    });
    let (to_pods, to_claims) = (pod_queue.clone(), claim_queue.clone());
    claims.on_event(move |event| {
        to_claims.add(ObjectKey::of(event.object().as_ref()));
        if let (true, Some((pod, _))) = (event.is_deleted(), pods::parent_key(&event.object().metadata, "Pod")) {
            to_pods.add(pod);
        }
    });
    let controller = Arc::new(Claims {
        client: context.client.clone(),
        recorder: context.recorder("resource_claim"),
        pods: pods.store().clone(),
        claims: claims.store().clone(),
        templates: templates.store().clone(),
    });
    let of_claims = controller.clone();
    context.run(&pod_queue, move |key| controller.clone().reconcile_pod(key));
    context.run(&claim_queue, move |key| of_claims.clone().reconcile_claim(key));
    Ok(())
}

impl Claims {
    fn api(&self, namespace: &str) -> Api<ResourceClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn reconcile_pod(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(pod) = self.pods.get(&key) else { return Ok(Action::Done) };
        if pod.metadata.deletion_timestamp.is_some() || helpers::is_terminal(&pod) {
            return Ok(Action::Done);
        }
        let references = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
        let owned = self.claims.by_index(BY_OWNER, &pod.uid().unwrap_or_default());
        let mut made = BTreeMap::new();
        for reference in references {
            let name = match plan::step(&pod, reference, &owned) {
                Step::Nothing => continue,
                Step::Remember(name) => name,
                Step::Make(template) => match self.make(&pod, &reference.name, &template).await {
                    Ok(name) => name,
                    Err(error) => {
                        let message = format!("PodResourceClaim {}: {error}", reference.name);
                        self.recorder.warning(pod.as_ref(), "FailedResourceClaimCreation", message.clone());
                        return Err(message.into());
                    }
                },
            };
            made.insert(reference.name.clone(), name);
        }
        if !made.is_empty() {
            self.remember(&pod, made).await?;
        }
        if helpers::node_name(&pod).is_some() {
            self.reserve(&pod).await?;
        }
        Ok(Action::Done)
    }

    async fn make(&self, pod: &Pod, reference: &str, template: &str) -> Result<String, BoxError> {
        let namespace = pod.namespace().unwrap_or_default();
        let Some(object) = self.templates.get_in(&namespace, template) else {
            let missing = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            return Err(format!("resource claim template {template:?}: {missing}").into());
        };
        let claim = plan::claim(pod, reference, &object);
        let created = self.api(&namespace).create(&PostParams::default(), &claim).await;
        let created = created.map_err(|error| format!("create ResourceClaim: {}", pods::message(&error)))?;
        Ok(created.name_any())
    }

    /// Tells the pod's status which claims were made, beside those that it names already.
    async fn remember(&self, pod: &Pod, made: BTreeMap<String, String>) -> Result<(), BoxError> {
        let known = pod.status.iter().flat_map(|s| s.resource_claim_statuses.iter().flatten());
        let kept = known.filter(|s| !made.contains_key(&s.name)).map(|s| json!(s));
        let new = made.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim}));
        let statuses: Vec<_> = kept.chain(new).collect();
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = json!({"apiVersion": "v1", "kind": "Pod", "status": {"resourceClaimStatuses": statuses}});
        api.patch_status(&pod.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?;
        Ok(())
    }

    /// Enters a pod that did not pass the scheduler into the claims that it uses.
    async fn reserve(&self, pod: &Pod) -> Result<(), BoxError> {
        let namespace = pod.namespace().unwrap_or_default();
        for name in plan::claim_names(pod) {
            let Some(claim) = self.claims.get_in(&namespace, name) else { continue };
            if !plan::wants_reservation(pod, &claim) {
                continue;
            }
            let mut claim = (*claim).clone();
            let users = claim.status.get_or_insert_default().reserved_for.get_or_insert_default();
            users.push(ResourceClaimConsumerReference {
                api_group: None,
                name: pod.name_any(),
                resource: "pods".to_owned(),
                uid: pod.uid().unwrap_or_default(),
            });
            self.api(&namespace).replace_status(name, &PostParams::default(), &claim).await?;
        }
        Ok(())
    }

    async fn reconcile_claim(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(claim) = self.claims.get(&key) else { return Ok(Action::Done) };
        let mut left = Vec::new();
        for user in users(&claim) {
            if self.is_still_used(&key.namespace, user).await? {
                left.push(user.clone());
            }
        }
        let owner_pod = pods::parent_key(&claim.metadata, "Pod").and_then(|(pod, _)| self.pods.get(&pod));
        let plan = plan::cleanup(&claim, left, owner_pod.as_deref());
        match self.clean(&key, &claim, plan).await {
            Ok(()) => Ok(Action::Done),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Done),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Action::RequeueRateLimited),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the user is there. The store may lag behind the scheduler: that a pod is gone must be the API server's word.
    async fn is_still_used(&self, namespace: &str, user: &ResourceClaimConsumerReference) -> Result<bool, BoxError> {
        if user.resource != "pods" || user.api_group.as_deref().is_some_and(|g| !g.is_empty()) {
            return Err(format!("unsupported ReservedFor entry: {} {}", user.resource, user.name).into());
        }
        if let Some(pod) = self.pods.get_in(namespace, &user.name) {
            return Ok(pod.uid().unwrap_or_default() == user.uid && !plan::is_done(&pod));
        }
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let pod = api.get_metadata_opt(&user.name).await?;
        Ok(pod.is_some_and(|pod| pod.uid().unwrap_or_default() == user.uid))
    }

    async fn clean(&self, key: &ObjectKey, claim: &ResourceClaim, plan: plan::Cleanup) -> Result<(), kube::Error> {
        let api = self.api(&key.namespace);
        let mut claim = claim.clone();
        if plan.users.is_some() || plan.deallocate {
            let status = claim.status.get_or_insert_default();
            if let Some(left) = plan.users {
                status.reserved_for = Some(left);
            }
            if plan.deallocate {
                status.allocation = None;
            }
            claim = api.replace_status(&key.name, &PostParams::default(), &claim).await?;
        }
        if plan.unprotect {
            claim.metadata.finalizers.iter_mut().for_each(|all| all.retain(|f| f != plan::FINALIZER));
            api.replace(&key.name, &PostParams::default(), &claim).await?;
        }
        if plan.delete {
            let preconditions = kube::api::Preconditions { uid: claim.metadata.uid.clone(), resource_version: None };
            let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            api.delete(&key.name, &delete).await?;
        }
        Ok(())
    }
}
