//! Makes the claims of pods' generic ephemeral volumes; they belong to the pod and go with it.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use component_helpers::pods as helpers;
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue, owner};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::{context::Context, pods};

struct Volumes {
    client: Client,
    recorder: EventRecorder,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let (pods, claims) = (context.informer::<Pod>(), context.informer::<PersistentVolumeClaim>());
    let on_pod = queue.clone();
    pods.on_event(move |event| {
        if event.old().is_none() && volumes(event.object()).next().is_some() {
            on_pod.add(ObjectKey::of(event.object().as_ref()));
        }
    });
    let on_claim = queue.clone();
    claims.on_event(move |event| {
        if let (true, Some((pod, _))) = (event.is_deleted(), pods::parent_key(&event.object().metadata, "Pod")) {
            on_claim.add(pod);
        }
    });
    let controller = Arc::new(Volumes {
        client: context.client.clone(),
        recorder: context.recorder("ephemeral_volume"),
        pods: pods.store().clone(),
        claims: claims.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter(|volume| volume.ephemeral.is_some())
}

fn claim(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let meta = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pod.name_any(), volume.name)),
            namespace: pod.namespace(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![owner::controller_ref(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}

impl Volumes {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(pod) = self.pods.get(&key) else { return Ok(Action::Done) };
        if pod.metadata.deletion_timestamp.is_some() || helpers::is_terminal(&pod) {
            return Ok(Action::Done);
        }
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        for wanted in volumes(&pod).filter_map(|volume| claim(&pod, volume)) {
            let name = wanted.name_any();
            if let Some(known) = self.claims.get_in(&key.namespace, &name) {
                if owner::is_controlled_by(&known.metadata, &pod.uid().unwrap_or_default()) {
                    continue;
                }
                return Err(format!("PVC {key}: {name:?} was not created for the pod").into());
            }
            match api.create(&PostParams::default(), &wanted).await {
                Ok(_) => {}
                Err(error) if pods::is_namespace_terminating(&error) => return Ok(Action::Done),
                Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(Action::RequeueRateLimited),
                Err(error) => {
                    let message =
                        format!("ephemeral volume controller failed to create PVC {name}: {}", pods::message(&error));
                    self.recorder.warning(pod.as_ref(), "ClaimCreationFailed", message);
                    return Err(error.into());
                }
            }
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_per_ephemeral_volume() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [{"name": "x"}, {"name": "scratch", "ephemeral": {"volumeClaimTemplate":
                {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}}]}
        }))
        .unwrap();
        let claims: Vec<_> = volumes(&pod).filter_map(|volume| claim(&pod, volume)).collect();
        assert_eq!(
            (claims.len(), claims[0].name_any().as_str(), claims[0].labels()["a"].as_str()),
            (1, "p-scratch", "b")
        );
        assert!(owner::is_controlled_by(&claims[0].metadata, "u"));
    }
}
