//! Hands pods from their sources to their workers. The only place where workers are started and ended.

use super::table::Mailbox;
use super::worker;
use crate::agent::Agent;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use tokio::sync::mpsc;

/// News from a source of pods.
#[derive(Debug)]
pub(crate) enum News {
    /// A pod, new or changed.
    Pod(Arc<Pod>),
    /// A pod is gone from its source.
    Gone(Arc<Pod>),
    /// A worker has done its last.
    Finished(String),
}

/// Starts and feeds workers until shutdown.
pub(crate) async fn run(
    agent: Arc<Agent>,
    news_sender: mpsc::UnboundedSender<News>,
    mut news: mpsc::UnboundedReceiver<News>,
    mut pokes: mpsc::UnboundedReceiver<String>,
) {
    loop {
        tokio::select! {
            biased;
            Some(item) = news.recv() => handle(&agent, item, &news_sender),
            Some(uid) = pokes.recv() => {
                if let Some(mailbox) = agent.pods.mailbox(&uid) {
                    mailbox.poke();
                }
            }
            else => return,
        }
    }
}

fn handle(agent: &Arc<Agent>, item: News, sender: &mpsc::UnboundedSender<News>) {
    match item {
        News::Pod(pod) if pod.is_mirror() => mirror_changed(agent, &pod, Some(pod.clone())),
        News::Gone(pod) if pod.is_mirror() => mirror_changed(agent, &pod, None),
        News::Pod(pod) => upsert(agent, &pod, sender),
        News::Gone(pod) => agent.pods.remove(pod.pod_uid()),
        News::Finished(uid) => {
            if let Some(again) = agent.pods.finished(&uid) {
                upsert(agent, &again, sender);
            }
        }
    }
}

fn upsert(agent: &Arc<Agent>, pod: &Arc<Pod>, sender: &mpsc::UnboundedSender<News>) {
    agent.statuses.reconcile(pod);
    if let Some(mailbox) = agent.pods.upsert(pod) {
        start(agent, mailbox, pod.pod_uid().to_owned(), sender.clone());
    }
}

fn start(agent: &Arc<Agent>, mailbox: Arc<Mailbox>, uid: String, sender: mpsc::UnboundedSender<News>) {
    let worker = worker::run(agent.clone(), mailbox);
    let shutdown = agent.shutdown.clone();
    agent.tasks.spawn(async move {
        tokio::select! {
            biased;
            // Containers go on without the kubelet.
            () = shutdown.cancelled() => {}
            () = worker => {
                // The receiver ends with the kubelet only.
                let _ended = sender.send(News::Finished(uid));
            }
        }
    });
}

/// The static pod behind a mirror pod has to see what happened to it.
fn mirror_changed(agent: &Agent, mirror: &Pod, now: Option<Arc<Pod>>) {
    let known = agent.pods.mirror(&mirror.key()).and_then(|old| old.metadata.uid.clone());
    let replaced = now.as_ref().is_none_or(|now| now.metadata.uid != known);
    agent.pods.set_mirror(&mirror.key(), now);
    for pod in agent.pods.named(mirror.ns(), mirror.pod_name()) {
        if replaced {
            agent.statuses.resend(pod.pod_uid());
            agent.poke(pod.pod_uid());
        }
    }
}
