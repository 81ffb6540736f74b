//! Mirror pods: what shows a static pod in the API. Deleting one there does not stop the pod; it comes back.

use crate::agent::Agent;
use crate::pod::{self, PodExt};
use api_types::k8s_openapi::api::core::v1::{Pod, PodStatus};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

/// Makes sure that the pod's mirror exists and shows this version of it.
pub(super) async fn ensure(agent: &Agent, pod: &Pod) -> Result<(), kube::Error> {
    let Some(client) = agent.client.clone() else { return Ok(()) };
    // The mirror pod's owner is the node object: without it the API refuses.
    let Some(node) = agent.node.object() else { return Ok(()) };
    let current = agent.pods.mirror(&pod.key());
    let hash = pod.note(pod::HASH).unwrap_or_default();
    if let Some(mirror) = current {
        if !mirror.is_deleted() && mirror.note(pod::MIRROR) == Some(hash) {
            return Ok(());
        }
        delete(&client, &mirror).await?;
    }
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: agent.config.node.name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let api: Api<Pod> = Api::namespaced(client, pod.ns());
    match api.create(&PostParams::default(), &mirror_of(pod, hash, owner)).await {
        Err(kube::Error::Api(answer)) if answer.code == 409 => Ok(()),
        answer => {
            answer?;
            agent.statuses.resend(pod.pod_uid());
            Ok(())
        }
    }
}

/// Deletes a mirror pod at once.
pub(crate) async fn delete(client: &kube::Client, mirror: &Pod) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), mirror.ns());
    let preconditions = Preconditions { uid: mirror.metadata.uid.clone(), resource_version: None };
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(mirror.pod_name(), &params).await {
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        answer => answer.map(drop),
    }
}

fn mirror_of(pod: &Pod, hash: &str, owner: OwnerReference) -> Pod {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(pod::MIRROR.into(), hash.into());
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone(),
        status: Some(PodStatus::default()),
    }
}
