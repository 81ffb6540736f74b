//! What a container mounts: its volumes, /etc/hosts, and the file for its last words.

use super::{VolumePaths, pod_dir};
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::spec::expand::expand;
use crate::spec::hosts;
use api_types::k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use k8s_cri::v1::{Mount, MountPropagation};
use std::collections::BTreeMap;

/// The mounts of a container; the error is the text of CreateContainerConfigError.
pub(crate) async fn of_container(
    agent: &Agent,
    pod: &Pod,
    container: &Container,
    volumes: &VolumePaths,
    env: &BTreeMap<String, String>,
    pod_ips: &[String],
) -> Result<Vec<Mount>, String> {
    if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err("block volumes (volumeDevices) are not supported by this kubelet".into());
    }
    let mut mounts = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume(agent, pod, container, index, wanted, volumes, env).await?);
    }
    if !mounts.iter().any(|mount| mount.container_path == "/etc/hosts") {
        mounts.push(etc_hosts(agent, pod, pod_ips).await?);
    }
    mounts.push(last_words(agent, pod, container).await?);
    Ok(mounts)
}

async fn volume(
    agent: &Agent,
    pod: &Pod,
    container: &Container,
    index: usize,
    wanted: &VolumeMount,
    volumes: &VolumePaths,
    env: &BTreeMap<String, String>,
) -> Result<Mount, String> {
    let name = &wanted.name;
    let source = volumes.get(name);
    let mut host_path = source.cloned().ok_or_else(|| {
        format!("mount cannot be satisfied for container {:?}, because the volume {name:?} is missing", container.name)
    })?;
    let subpath = match (wanted.sub_path.as_deref(), wanted.sub_path_expr.as_deref()) {
        (_, Some(expression)) if !expression.is_empty() => {
            let expanded = expand(expression, &|name| env.get(name).cloned());
            if expanded.contains("$(") {
                return Err(format!("failed to expand subPath expression {expression:?}"));
            }
            expanded
        }
        (path, _) => path.unwrap_or_default().to_owned(),
    };
    if !subpath.is_empty() {
        let dir = pod_dir(&agent.config.paths.root, pod.pod_uid());
        let target = dir.join("volume-subpaths").join(name).join(&container.name).join(index.to_string());
        let bound = agent.host.bind_subpath(&host_path, &subpath, &target).await;
        bound.map_err(|error| {
            format!("failed to prepare subPath for volumeMount {name:?} of container {:?}: {error}", container.name)
        })?;
        host_path = target;
    }
    let propagation = match wanted.mount_propagation.as_deref() {
        Some("Bidirectional") => MountPropagation::PropagationBidirectional,
        Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
        _ => MountPropagation::PropagationPrivate,
    };
    if wanted.recursive_read_only.as_deref() == Some("Enabled") {
        return Err("recursiveReadOnly: Enabled is not supported by this kubelet".into());
    }
    Ok(Mount {
        container_path: absolute(&wanted.mount_path),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: wanted.read_only == Some(true),
        propagation: propagation.into(),
        ..Mount::default()
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The kubelet's own /etc/hosts for the pod.
async fn etc_hosts(agent: &Agent, pod: &Pod, pod_ips: &[String]) -> Result<Mount, String> {
    let path = pod_dir(&agent.config.paths.root, pod.pod_uid()).join("etc-hosts");
    let io = |error: std::io::Error| error.to_string();
    let host_file = match pod.host_network() {
        true => {
            let bytes = agent.host.read("/etc/hosts".as_ref()).await.map_err(io)?.unwrap_or_default();
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        false => None,
    };
    let text = hosts::file(pod, pod_ips, &agent.config.cluster_domain, host_file.as_deref())?;
    // Rewritten in place only when it differs: running containers have the old file mounted.
    if agent.host.read(&path).await.map_err(io)?.as_deref() != Some(text.as_bytes()) {
        agent.host.write(&path, text.as_bytes(), 0o644).await.map_err(io)?;
    }
    Ok(Mount {
        container_path: "/etc/hosts".into(),
        host_path: path.to_string_lossy().into_owned(),
        readonly: false,
        ..Mount::default()
    })
}

/// A fresh file for the termination message.
async fn last_words(agent: &Agent, pod: &Pod, container: &Container) -> Result<Mount, String> {
    let dir = pod_dir(&agent.config.paths.root, pod.pod_uid()).join("containers").join(&container.name);
    let file = dir.join(component_base::rng::suffix(8));
    let io = |error: std::io::Error| error.to_string();
    agent.host.make_dir(&dir, 0o750).await.map_err(io)?;
    // Any user of the container may write it.
    agent.host.write(&file, b"", 0o666).await.map_err(io)?;
    let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
    Ok(Mount {
        container_path: path.unwrap_or("/dev/termination-log").to_owned(),
        host_path: file.to_string_lossy().into_owned(),
        ..Mount::default()
    })
}
