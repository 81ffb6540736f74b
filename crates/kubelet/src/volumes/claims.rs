//! Claims whose volume is a path on this node (hostPath and local volumes). Others are refused.

use crate::agent::Agent;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod,
};
use kube::Api;
use std::path::PathBuf;

pub(super) async fn path(
    agent: &Agent,
    pod: &Pod,
    source: &PersistentVolumeClaimVolumeSource,
) -> Result<PathBuf, String> {
    let client = agent.client.clone().ok_or("this kubelet runs without an API server")?;
    let name = &source.claim_name;
    let api = |error: kube::Error| crate::objects::ObjectError::from(error).to_string();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), pod.ns());
    let claim = claims.get(name).await.map_err(api)?;
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.and_then(|spec| spec.volume_name).filter(|name| bound && !name.is_empty());
    let volume = volume.ok_or_else(|| format!("PVC {}/{name} is not bound", pod.ns()))?;
    let volumes: Api<PersistentVolume> = Api::all(client);
    let found = volumes.get(&volume).await.map_err(api)?;
    let spec = found.spec.unwrap_or_default();
    let path = spec.host_path.map(|host| host.path).or_else(|| spec.local.map(|local| local.path));
    path.map(PathBuf::from)
        .ok_or_else(|| format!("PersistentVolume {volume} is of a type that is not supported by this kubelet"))
}
