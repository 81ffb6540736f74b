//! One pod's worker: syncs it until it must stop or has ended, stops it, and clears away after it.
//!
//! `SyncPod → TerminatingPod → TerminatedPod → (gone from its source) → removed`, never backwards. A sync in flight is dropped
//! when the pod must stop; every step starts from what the runtime has, so that a step cut short is simply found half done.

use super::stop;
use super::sync::{self, Memory, Pass};
use super::table::Mailbox;
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::runtime::view;
use crate::spec::{resources, sandbox};
use crate::volumes;
use api_types::k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;

/// After a failed step.
const RETRY: Duration = Duration::from_secs(1);
const SYNC_RETRY: Duration = Duration::from_secs(10);

/// Runs the worker to the pod's removal.
pub(super) async fn run(agent: Arc<Agent>, mailbox: Arc<Mailbox>) {
    let mut memory = Memory::default();
    wait_for_name(&agent, &mailbox).await;
    syncing(&agent, &mailbox, &mut memory).await;
    terminating(&agent, &mailbox, &mut memory).await;
    terminated(&agent, &mailbox).await;
    mailbox.until_removed().await;
    removed(&agent, &mailbox.pod()).await;
}

/// A static pod waits until its predecessor of the same name is gone.
async fn wait_for_name(agent: &Agent, mailbox: &Mailbox) {
    let pod = mailbox.pod();
    let taken = || agent.pods.is_name_taken(&pod);
    while pod.is_static() && taken() && !mailbox.must_stop() {
        tokio::time::sleep(RETRY).await;
    }
}

async fn syncing(agent: &Agent, mailbox: &Mailbox, memory: &mut Memory) {
    loop {
        if mailbox.must_stop() {
            return;
        }
        mailbox.take_dirty();
        let pod = mailbox.pod();
        let pass = tokio::select! {
            biased;
            () = mailbox.until_stop() => return,
            pass = sync::pod(agent, &pod, memory) => pass,
        };
        let wait = match pass {
            Ok(Pass::Ended) => return,
            Ok(Pass::Again(wait)) => wait,
            Err(error) => {
                tracing::warn!(pod = %pod.key(), %error, "could not sync the pod");
                SYNC_RETRY
            }
        };
        let deadline = tokio::time::Instant::now() + wait;
        // A change taken in during the pass may have used up the notification.
        while !mailbox.take_dirty() && !mailbox.must_stop() {
            tokio::select! {
                biased;
                () = mailbox.changed() => {}
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
    }
}

async fn terminating(agent: &Agent, mailbox: &Mailbox, memory: &mut Memory) {
    loop {
        let (pod, grace) = (mailbox.pod(), mailbox.grace());
        agent.probes.stop_restarting(pod.pod_uid());
        let stopped = tokio::select! {
            biased;
            () = shorter_grace(mailbox, grace) => continue,
            stopped = stop_pod(agent, &pod, grace, memory) => stopped,
        };
        match stopped {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(pod = %pod.key(), %error, "could not stop the pod");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Waits until less grace is granted than `grace`.
async fn shorter_grace(mailbox: &Mailbox, grace: i64) {
    while mailbox.grace() >= grace {
        mailbox.changed().await;
    }
}

async fn stop_pod(agent: &Agent, pod: &Arc<Pod>, grace: i64, memory: &mut Memory) -> Result<(), String> {
    let (view, _) = sync::publish(agent, pod, memory, false).await?;
    stop::whole_pod(agent, pod, &view, Some(grace)).await.map_err(|error| error.to_string())?;
    let now = view::read(agent.runtime.as_ref(), pod.pod_uid()).await.map_err(|error| error.to_string())?;
    if now.running().next().is_some() {
        return Err("containers still run after they were stopped".into());
    }
    sync::publish(agent, pod, memory, true).await?;
    agent.probes.forget(pod.pod_uid());
    Ok(())
}

async fn terminated(agent: &Agent, mailbox: &Mailbox) {
    loop {
        let pod = mailbox.pod();
        match clear(agent, &pod).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(pod = %pod.key(), %error, "could not clear away after the pod");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    agent.pods.release(mailbox.pod().pod_uid());
    // Deletion may be asked for only now: the status manager needs to hear of it.
    let mut told = None;
    while !mailbox.is_removed() {
        let pod = mailbox.pod();
        if told != Some(pod.is_deleted()) {
            told = Some(pod.is_deleted());
            agent.statuses.finish(&pod);
        }
        mailbox.changed().await;
    }
}

/// Volumes and the cgroup go as soon as the pod has stopped; logs and last words stay until the pod is deleted.
async fn clear(agent: &Agent, pod: &Pod) -> Result<(), String> {
    let dir = volumes::pod_dir(&agent.config.paths.root, pod.pod_uid());
    let io = |error: std::io::Error| error.to_string();
    for part in ["volume-subpaths", "volumes"] {
        agent.host.remove(&dir.join(part)).await.map_err(io)?;
    }
    if agent.config.cgroups.per_qos {
        agent.host.remove_cgroup(&resources::cgroup_name(pod, &agent.config.cgroups)).await.map_err(io)?;
    }
    Ok(())
}

/// Nothing remembers the pod any more: everything of it goes.
async fn removed(agent: &Agent, pod: &Pod) {
    let uid = pod.pod_uid();
    while let Err(error) = remove_all(agent, pod).await {
        tracing::warn!(pod = %pod.key(), %error, "could not remove the pod's remains");
        tokio::time::sleep(RETRY).await;
    }
    agent.statuses.forget(uid);
    agent.probes.forget(uid);
    agent.images.forget(uid);
    agent.objects.forget(uid);
    agent.crashes.forget(&format!("{uid}_"));
}

async fn remove_all(agent: &Agent, pod: &Pod) -> Result<(), String> {
    let view = view::read(agent.runtime.as_ref(), pod.pod_uid()).await.map_err(|error| error.to_string())?;
    stop::remove(agent, &view).await.map_err(|error| error.to_string())?;
    let io = |error: std::io::Error| error.to_string();
    agent.host.remove(&sandbox::log_dir(&agent.config, pod)).await.map_err(io)?;
    if let Some(dir) = &agent.config.paths.container_links {
        for run in &view.containers {
            let link = format!("{}_{}_{}-{}.log", pod.pod_name(), pod.ns(), run.name, run.id);
            agent.host.remove(&dir.join(link)).await.map_err(io)?;
        }
    }
    volumes::tear_down(agent, pod.pod_uid()).await.map_err(io)
}
