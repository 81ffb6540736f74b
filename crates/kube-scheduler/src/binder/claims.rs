//! Resource claims: writing allocations and reservations, waiting for devices, and taking both back.

use std::time::Duration;

use api_types::k8s_openapi::{
    api::{
        core::v1::ContainerExtendedResourceRequest,
        resource::v1::{
            AllocationResult, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimConsumerReference,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use component_base::clock;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{BindError, Binder, bind_error};
use crate::{
    cache::PodInfo,
    framework::{claim_key, extended_key},
};

/// What keeps a claim with devices from vanishing.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// So often a write is tried where others write the claim at the same time.
const TRIES: usize = 5;
const DEVICES_POLL: Duration = Duration::from_secs(1);

fn refused(message: String) -> BindError {
    BindError { message, is_gone: false }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

impl Binder {
    fn resource_claims(&self, claim: &ResourceClaim) -> Api<ResourceClaim> {
        Api::namespaced(self.client.clone(), claim.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// Writes the allocation, where there is one, and that the pod uses the claim.
    pub(super) async fn use_claim(
        &self,
        pod: &PodInfo,
        claim: &ResourceClaim,
        allocation: Option<&AllocationResult>,
    ) -> Result<ResourceClaim, BindError> {
        let (claims, key) = (self.resource_claims(claim), claim_key(claim));
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let mut current = claim.clone();
        for attempt in 1.. {
            let error = match self.try_to_use(&claims, pod, current, allocation).await? {
                Ok(written) => return Ok(written),
                Err(error) => error,
            };
            if attempt == TRIES || !is_conflict(&error) {
                let what = if allocation.is_some() { "allocation and reservation" } else { "reservation" };
                return Err(bind_error(&format!("add {what} to claim {key}"), &error));
            }
            let again = claims.get(name).await;
            current = again.map_err(|error| bind_error(&format!("get updated claim {key} after conflict"), &error))?;
        }
        Err(refused(format!("claim {key} changes too often")))
    }

    async fn try_to_use(
        &self,
        claims: &Api<ResourceClaim>,
        pod: &PodInfo,
        mut claim: ResourceClaim,
        allocation: Option<&AllocationResult>,
    ) -> Result<Result<ResourceClaim, kube::Error>, BindError> {
        let key = claim_key(&claim);
        let name = claim.metadata.name.clone().unwrap_or_default();
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(refused(format!("claim {key} got deleted in the meantime")));
        }
        if let Some(allocation) = allocation {
            if claim.status.as_ref().is_some_and(|status| status.allocation.is_some()) {
                return Err(refused(format!("claim {key} got allocated elsewhere in the meantime")));
            }
            let finalizers = claim.metadata.finalizers.get_or_insert_default();
            if !finalizers.iter().any(|f| f == FINALIZER) {
                finalizers.push(FINALIZER.to_owned());
                claim = match claims.replace(&name, &PostParams::default(), &claim).await {
                    Ok(updated) => updated,
                    Err(error) => return Ok(Err(error)),
                };
            }
            let mut allocation = allocation.clone();
            allocation.allocation_timestamp = Some(Time(clock::now()));
            claim.status.get_or_insert_default().allocation = Some(allocation);
        }
        let users = claim.status.get_or_insert_default().reserved_for.get_or_insert_default();
        users.push(ResourceClaimConsumerReference {
            api_group: None,
            name: pod.name().to_owned(),
            resource: "pods".to_owned(),
            uid: pod.uid.to_string(),
        });
        Ok(claims.replace_status(&name, &PostParams::default(), &claim).await)
    }

    /// Waits until the driver has got the devices ready that ask for it; gives them up where it cannot.
    pub(super) async fn wait_for_devices(&self, claim: &ResourceClaim, patience: Duration) -> Result<(), BindError> {
        let (key, mut current) = (claim_key(claim), claim.clone());
        let claims = self.resource_claims(claim);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let poll = async {
            loop {
                match readiness(&current) {
                    Readiness::Ready => return Ok(()),
                    Readiness::Failed(why) => return Err(refused(format!("claim {key}: {why}"))),
                    Readiness::Waiting => tokio::time::sleep(DEVICES_POLL).await,
                }
                current = claims.get(name).await.map_err(|error| bind_error(&format!("get claim {key}"), &error))?;
            }
        };
        let late = || refused(format!("claim {key}: device binding timeout"));
        let ready = tokio::time::timeout(patience, poll).await.unwrap_or_else(|_| Err(late()));
        if ready.is_err()
            && let Err(error) = self.deallocate(claim).await
        {
            tracing::warn!(claim = key, error = %error.message, "could not free devices that do not get ready");
        }
        ready
    }

    /// Makes the claim for a pod's extended resources, with its devices, and tells the pod's status of it. What fails leaves no claim.
    pub(super) async fn make_claim(
        &self,
        pod: &PodInfo,
        claim: &ResourceClaim,
        allocation: &AllocationResult,
        mappings: &[ContainerExtendedResourceRequest],
    ) -> Result<ResourceClaim, BindError> {
        let made = self.resource_claims(claim).create(&PostParams::default(), claim).await;
        let made = made.map_err(|error| bind_error("create claim for extended resources", &error))?;
        let finished = async {
            let used = self.use_claim(pod, &made, Some(allocation)).await?;
            let status = json!({"requestMappings": mappings, "resourceClaimName": used.metadata.name});
            let patch = json!({"metadata": {"uid": &*pod.uid}, "status": {"extendedResourceClaimStatus": status}});
            let patched =
                self.pods(pod).patch_status(pod.name(), &PatchParams::default(), &Patch::Strategic(&patch)).await;
            let doing = format!("update pod {} ExtendedResourceClaimStatus", pod.key);
            patched.map(|_| used).map_err(|error| bind_error(&doing, &error))
        };
        let finished = finished.await;
        if finished.is_err()
            && let Err(error) = self.delete_claim(&made).await
        {
            tracing::warn!(pod = %pod.key, error = %error.message, "could not delete a claim for extended resources");
        }
        finished
    }

    /// Deletes a claim that the scheduler made.
    async fn delete_claim(&self, claim: &ResourceClaim) -> Result<(), BindError> {
        let (claims, name) = (self.resource_claims(claim), claim.metadata.name.as_deref().unwrap_or_default());
        let failed = |error: kube::Error| bind_error(&format!("delete claim {}", claim_key(claim)), &error);
        let patch = json!({"metadata": {"uid": claim.metadata.uid, "finalizers": null}});
        claims.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(failed)?;
        claims.delete(name, &DeleteParams::default()).await.map(drop).map_err(failed)
    }

    /// Takes the claim's devices away; a claim that the scheduler made goes with them.
    pub(super) async fn deallocate(&self, claim: &ResourceClaim) -> Result<(), BindError> {
        if extended_key(claim).is_some() {
            return self.delete_claim(claim).await;
        }
        let patch =
            json!({"metadata": {"uid": claim.metadata.uid}, "status": {"allocation": null, "reservedFor": null}});
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let patched =
            self.resource_claims(claim).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map(drop).map_err(|error| bind_error(&format!("deallocate claim {}", claim_key(claim)), &error))
    }

    /// Takes the pod off the claims that were written for it; they keep their devices for its next attempt.
    pub(super) async fn stop_using(&self, pod: &PodInfo, written: &[ResourceClaim]) {
        for claim in written {
            if extended_key(claim).is_some() {
                if let Err(error) = self.delete_claim(claim).await {
                    tracing::warn!(pod = %pod.key, error = %error.message, "could not delete a claim");
                }
                continue;
            }
            let user = json!({"$patch": "delete", "uid": &*pod.uid});
            let patch = json!({"metadata": {"uid": claim.metadata.uid}, "status": {"reservedFor": [user]}});
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let claims = self.resource_claims(claim);
            if let Err(error) = claims.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await {
                tracing::warn!(pod = %pod.key, claim = claim_key(claim), %error, "could not take the pod off a claim");
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    Waiting,
    Failed(String),
}

/// Whether the devices with binding conditions are ready, by what the driver says in the claim's status.
fn readiness(claim: &ResourceClaim) -> Readiness {
    let status = claim.status.as_ref();
    let allocation = status.and_then(|s| s.allocation.as_ref());
    let results = allocation.and_then(|a| a.devices.as_ref()).and_then(|d| d.results.as_deref()).unwrap_or_default();
    let is_true = |result: &DeviceRequestAllocationResult, condition: &String| {
        let devices = status.iter().flat_map(|s| s.devices.iter().flatten());
        let same = devices.filter(|d| {
            d.driver == result.driver
                && d.pool == result.pool
                && d.device == result.device
                && d.share_id == result.share_id
        });
        same.flat_map(|d| d.conditions.iter().flatten()).any(|c| c.type_ == *condition && c.status == "True")
    };
    let mut ready = true;
    for result in results.iter().filter(|r| r.binding_conditions.as_ref().is_some_and(|c| !c.is_empty())) {
        let failed = result.binding_failure_conditions.iter().flatten().find(|c| is_true(result, c));
        if let Some(condition) = failed {
            return Readiness::Failed(format!("device {} failed to bind: {condition}", result.device));
        }
        ready &= result.binding_conditions.iter().flatten().all(|c| is_true(result, c));
    }
    if ready { Readiness::Ready } else { Readiness::Waiting }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(conditions: serde_json::Value) -> ResourceClaim {
        let device = json!({"driver": "d", "pool": "p", "device": "x", "request": "r",
            "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]});
        let seen = json!({"driver": "d", "pool": "p", "device": "x", "conditions": conditions});
        let status = json!({"allocation": {"devices": {"results": [device]}}, "devices": [seen]});
        serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn devices_get_ready_or_fail() {
        let condition = |name: &str, status: &str| json!({"type": name, "status": status, "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let table = [
            (json!([]), Readiness::Waiting),
            (json!([condition("Attached", "False")]), Readiness::Waiting),
            (json!([condition("Attached", "True")]), Readiness::Ready),
            (
                json!([condition("Attached", "True"), condition("Broken", "True")]),
                Readiness::Failed("device x failed to bind: Broken".to_owned()),
            ),
        ];
        for (conditions, want) in table {
            assert_eq!(readiness(&claim(conditions.clone())), want, "{conditions}");
        }
    }
}
