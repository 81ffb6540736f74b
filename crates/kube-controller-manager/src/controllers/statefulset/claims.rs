//! Makes the claims of pods, and keeps their owners as the retention policy wants them.

use std::sync::Arc;

use api_types::k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use controller_runtime::ObjectKey;
use kube::{Api, ResourceExt, api::PostParams};

use super::{apply::StatefulSets, identity, retention};
use crate::pods;

impl StatefulSets {
    /// Makes the claims that a pod needs and that are missing.
    pub(super) async fn create_claims(
        &self,
        set: &StatefulSet,
        key: &ObjectKey,
        ordinal: i32,
    ) -> Result<(), kube::Error> {
        let (name, pod) = (set.name_any(), identity::pod_name(set, ordinal));
        for mut claim in identity::claims(set, ordinal) {
            let claim_name = claim.name_any();
            if let Some(found) = self.claims.get_in(&key.namespace, &claim_name) {
                self.keep_owner(set, ordinal, None, &found).await?;
                continue;
            }
            claim.metadata.owner_references = retention::first_owners(set, ordinal);
            match self.claim_api(&key.namespace).create(&PostParams::default(), &claim).await {
                Ok(_) => {
                    let message = format!("create Claim {claim_name} Pod {pod} in StatefulSet {name} success");
                    self.control.recorder.normal(set, "SuccessfulCreate", message);
                }
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => {
                    let why = pods::message(&error);
                    let message =
                        format!("create Claim {claim_name} for Pod {pod} in StatefulSet {name} failed error: {why}");
                    self.control.recorder.warning(set, "FailedCreate", message);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether a claim of the pod is still to be removed with the former pod of this ordinal; its deletion wakes the set.
    pub(super) fn awaits_claims(&self, set: &StatefulSet, key: &ObjectKey, ordinal: i32) -> bool {
        let claims = identity::claims(set, ordinal).into_iter();
        let mut found = claims.filter_map(|claim| self.claims.get_in(&key.namespace, &claim.name_any()));
        found.any(|claim| retention::awaits_removal(set, ordinal, &claim))
    }

    /// The owners of all pods' claims. A wanted pod that is leaving keeps them as they are, so that what was decided for it stands.
    pub(super) async fn keep_owners(
        &self,
        set: &StatefulSet,
        key: &ObjectKey,
        pods: &[Arc<Pod>],
    ) -> Result<(), kube::Error> {
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        for pod in pods {
            let Some(ordinal) = identity::ordinal(&set.name_any(), &pod.name_any()) else { continue };
            if identity::is_wanted(set, ordinal) && pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            for claim in identity::claims(set, ordinal) {
                let Some(found) = self.claims.get_in(&key.namespace, &claim.name_any()) else { continue };
                if retention::judge(set, ordinal, Some(pod), &found).owners.is_some() {
                    self.keep_owner(set, ordinal, Some(pod), &found).await?;
                }
            }
        }
        Ok(())
    }

    async fn keep_owner(
        &self,
        set: &StatefulSet,
        ordinal: i32,
        pod: Option<&Pod>,
        claim: &PersistentVolumeClaim,
    ) -> Result<(), kube::Error> {
        let verdict = retention::judge(set, ordinal, pod, claim);
        let name = claim.name_any();
        if verdict.conflict {
            let message = format!(
                "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a managing controller, \
                 the retention policy is ignored for this claim"
            );
            self.control.recorder.warning(set, "ConflictingController", message);
        }
        let Some(owners) = verdict.owners else { return Ok(()) };
        let mut updated = claim.clone();
        updated.metadata.owner_references = Some(owners);
        let namespace = claim.namespace().unwrap_or_default();
        self.claim_api(&namespace).replace(&name, &PostParams::default(), &updated).await.map(|_| ())
    }

    fn claim_api(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.control.client.clone(), namespace)
    }
}
