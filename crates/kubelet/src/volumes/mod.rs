//! Volumes of pods: prepared on the host before containers start, refreshed while they run, removed after them.

mod claims;
pub(crate) mod mounts;
pub(crate) mod payload;

use crate::agent::Agent;
use crate::host::PathKind;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Pod, Volume};
use component_helpers::quantity::value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where each volume of a pod is on the host.
pub(crate) type VolumePaths = BTreeMap<String, PathBuf>;

/// The directory of everything that the kubelet keeps for a pod.
pub(crate) fn pod_dir(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

fn volume_dir(root: &Path, pod: &Pod, plugin: &str, name: &str) -> PathBuf {
    pod_dir(root, pod.pod_uid()).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
}

fn fs_group(pod: &Pod) -> Option<u32> {
    pod.spec().security_context.as_ref()?.fs_group.and_then(|gid| u32::try_from(gid).ok())
}

/// Makes all volumes of the pod ready (again: contents are brought up to date). The error is the text of a FailedMount event.
pub(crate) async fn set_up(agent: &Agent, pod: &Pod) -> Result<VolumePaths, String> {
    let root = agent.config.paths.root.clone();
    let io = |error: std::io::Error| error.to_string();
    agent.host.make_dir(&pod_dir(&root, pod.pod_uid()), 0o750).await.map_err(io)?;
    let mut paths = VolumePaths::new();
    for volume in pod.spec().volumes.iter().flatten() {
        let path = one(agent, pod, volume, &root).await;
        let path = path.map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name))?;
        paths.insert(volume.name.clone(), path);
    }
    Ok(paths)
}

async fn one(agent: &Agent, pod: &Pod, volume: &Volume, root: &Path) -> Result<PathBuf, String> {
    if let Some(source) = &volume.host_path {
        return host_path(agent, source).await;
    }
    if let Some(source) = &volume.empty_dir {
        let dir = volume_dir(root, pod, "empty-dir", &volume.name);
        return empty_dir(agent, pod, source, &dir).await.map(|()| dir);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        return claims::path(agent, pod, source).await;
    }
    let Some((plugin, payload)) = payload::of_volume(agent, pod, volume).await? else {
        return Err(format!("volumes of type {} are not supported by this kubelet", type_name(volume)));
    };
    let dir = volume_dir(root, pod, plugin, &volume.name);
    let io = |error: std::io::Error| error.to_string();
    if plugin != "configmap" {
        // Secrets and tokens are never written to a disk.
        agent.host.make_dir(&dir, 0o755).await.map_err(io)?;
        agent.host.mount_tmpfs(&dir, None).await.map_err(io)?;
    }
    agent.host.publish(&dir, &payload).await.map_err(io)?;
    Ok(dir)
}

/// The name of the field that says what the volume is.
fn type_name(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).ok();
    let name = fields.as_ref().and_then(|fields| fields.as_object()?.keys().find(|key| *key != "name").cloned());
    name.unwrap_or_else(|| "unknown".into())
}

async fn empty_dir(agent: &Agent, pod: &Pod, source: &EmptyDirVolumeSource, dir: &Path) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    let fresh = agent.host.kind(dir).await.map_err(io)? == PathKind::Absent;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            let memory =
                component_helpers::resources::pod_limits(pod).get("memory").copied().filter(|bytes| *bytes > 0);
            let limit = source.size_limit.as_ref().map(value).filter(|bytes| *bytes > 0);
            let size = [limit, memory].into_iter().flatten().min().and_then(|bytes| u64::try_from(bytes).ok());
            agent.host.mount_tmpfs(dir, size).await.map_err(io)?;
        }
        other => return Err(format!("emptyDir medium {other:?} is not supported by this kubelet")),
    }
    if fresh {
        agent.host.make_dir(dir, 0o777).await.map_err(io)?;
        if let Some(gid) = fs_group(pod) {
            agent.host.set_group(dir, gid).await.map_err(io)?;
        }
    }
    Ok(())
}

async fn host_path(agent: &Agent, source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let wanted = source.type_.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(path);
    }
    let io = |error: std::io::Error| error.to_string();
    let mut found = agent.host.kind(&path).await.map_err(io)?;
    if found == PathKind::Absent {
        match wanted {
            "DirectoryOrCreate" => agent.host.make_dir(&path, 0o755).await.map_err(io)?,
            "FileOrCreate" => agent.host.write(&path, b"", 0o644).await.map_err(io)?,
            _ => {}
        }
        found = agent.host.kind(&path).await.map_err(io)?;
    }
    let (kind, what) = match wanted {
        "Directory" | "DirectoryOrCreate" => (PathKind::Directory, "directory"),
        "File" | "FileOrCreate" => (PathKind::File, "file"),
        "Socket" => (PathKind::Socket, "socket file"),
        "CharDevice" => (PathKind::CharDevice, "character device"),
        "BlockDevice" => (PathKind::BlockDevice, "block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if found == kind { Ok(path) } else { Err(format!("hostPath type check failed: {} is not a {what}", source.path)) }
}

/// Removes everything of the pod from the host.
pub(crate) async fn tear_down(agent: &Agent, uid: &str) -> std::io::Result<()> {
    agent.host.remove(&pod_dir(&agent.config.paths.root, uid)).await
}
