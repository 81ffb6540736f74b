//! Clears away what no pod accounts for: containers, directories, cgroups and mirror pods of pods that vanished while the
//! kubelet was not looking, and dead containers beyond those that are kept for their logs.

use super::{mirror, stop};
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::runtime::view;
use crate::spec::{labels, resources};
use crate::volumes;
use component_helpers::qos::QosClass;
use k8s_cri::v1::{ContainerState, PodSandboxState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(10);
/// Every so many rounds dead containers are removed.
const CONTAINER_ROUNDS: u32 = 6;

/// Clears away until shutdown. Starts when all sources of pods have been read: before, every pod looks like nobody's.
pub(crate) async fn run(agent: Arc<Agent>) {
    let mut round = 0_u32;
    loop {
        if let Err(error) = orphans(&agent).await {
            tracing::warn!(%error, "could not clear away after vanished pods");
        }
        if round.is_multiple_of(CONTAINER_ROUNDS)
            && let Err(error) = dead_containers(&agent).await
        {
            tracing::warn!(%error, "could not remove dead containers");
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(PERIOD).await;
    }
}

async fn orphans(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for sandbox in agent.runtime.list_pod_sandboxes(None).await? {
        let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        found.insert(label(labels::POD_UID), (label(labels::POD_NAMESPACE), label(labels::POD_NAME)));
    }
    for container in agent.runtime.list_containers(None).await? {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        found.insert(label(labels::POD_UID), (label(labels::POD_NAMESPACE), label(labels::POD_NAME)));
    }
    // Read after the list: a pod that came meanwhile is no orphan.
    found.retain(|uid, _| !uid.is_empty() && agent.pods.get(uid).is_none());
    let removals = found.iter().map(|(uid, (namespace, name))| remove_orphan(agent, namespace, name, uid));
    for removed in futures::future::join_all(removals).await {
        removed?;
    }
    directories(agent).await?;
    cgroups(agent).await?;
    mirrors(agent).await
}

async fn remove_orphan(agent: &Arc<Agent>, namespace: &str, name: &str, uid: &str) -> anyhow::Result<()> {
    tracing::info!(namespace, name, uid, "removing the containers of a vanished pod");
    let view = view::read(agent.runtime.as_ref(), uid).await?;
    let pod = stop::restore(namespace, name, uid, &view);
    stop::whole_pod(agent, &pod, &view, None).await?;
    stop::remove(agent, &view).await?;
    agent.host.remove(&crate::spec::sandbox::log_dir(&agent.config, &pod)).await?;
    Ok(())
}

async fn directories(agent: &Agent) -> anyhow::Result<()> {
    for uid in agent.host.list(&agent.config.paths.root.join("pods")).await? {
        if agent.pods.get(&uid).is_none() {
            tracing::info!(uid, "removing the directory of a vanished pod");
            volumes::tear_down(agent, &uid).await?;
        }
    }
    Ok(())
}

async fn cgroups(agent: &Agent) -> anyhow::Result<()> {
    let config = &agent.config.cgroups;
    if !config.per_qos {
        return Ok(());
    }
    let classes = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort];
    for parent in classes.map(|class| resources::class_cgroup(config, class)) {
        for child in agent.host.child_cgroups(&parent).await? {
            let orphan = child.strip_prefix("pod").is_some_and(|uid| agent.pods.get(uid).is_none());
            if orphan {
                agent.host.remove_cgroup(&format!("{parent}/{child}")).await?;
            }
        }
    }
    let limits = |shares: u64| crate::host::CgroupLimits { cpu_shares: Some(shares), ..Default::default() };
    let pods = agent.pods.all();
    let burstable = resources::burstable_shares(pods.iter().map(AsRef::as_ref));
    agent.host.ensure_cgroup(&resources::class_cgroup(config, QosClass::Burstable), &limits(burstable)).await?;
    Ok(agent.host.ensure_cgroup(&resources::class_cgroup(config, QosClass::BestEffort), &limits(2)).await?)
}

/// Mirror pods whose static pod is gone.
async fn mirrors(agent: &Agent) -> anyhow::Result<()> {
    let Some(client) = &agent.client else { return Ok(()) };
    for mirror in agent.pods.mirrors() {
        if agent.pods.named(mirror.ns(), mirror.pod_name()).is_empty() {
            mirror::delete(client, &mirror).await?;
        }
    }
    Ok(())
}

/// Keeps the newest dead containers of each name, and the newest sandbox of each pod.
async fn dead_containers(agent: &Agent) -> anyhow::Result<()> {
    let mut by_name: BTreeMap<(String, String), Vec<_>> = BTreeMap::new();
    let mut in_use = BTreeSet::new();
    for container in agent.runtime.list_containers(None).await? {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        in_use.insert(container.pod_sandbox_id.clone());
        if container.state() == ContainerState::ContainerExited {
            by_name.entry((label(labels::POD_UID), label(labels::CONTAINER_NAME))).or_default().push(container);
        }
    }
    for (_, mut dead) in by_name {
        dead.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        for container in dead.into_iter().skip(agent.config.upkeep.dead_containers as usize) {
            agent.runtime.remove_container(&container.id).await?;
        }
    }
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let sandboxes = agent.runtime.list_pod_sandboxes(None).await?;
    for sandbox in &sandboxes {
        let uid = sandbox.labels.get(labels::POD_UID).cloned().unwrap_or_default();
        let created = newest.entry(uid).or_insert(sandbox.created_at);
        *created = sandbox.created_at.max(*created);
    }
    for sandbox in sandboxes {
        let uid = sandbox.labels.get(labels::POD_UID).cloned().unwrap_or_default();
        let old = newest.get(&uid).is_some_and(|created| sandbox.created_at < *created);
        if old && sandbox.state() == PodSandboxState::SandboxNotready && !in_use.contains(&sandbox.id) {
            agent.runtime.remove_pod_sandbox(&sandbox.id).await?;
        }
    }
    Ok(())
}
