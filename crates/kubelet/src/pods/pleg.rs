//! Notices what happens to containers: by the runtime's events where it has them, else by listing once a second.

use crate::agent::Agent;
use crate::runtime::RuntimeError;
use crate::spec::labels;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Without events.
const RELIST: Duration = Duration::from_secs(1);
/// With events, for those that were lost.
const SAFETY_RELIST: Duration = Duration::from_secs(10);
/// How long after a broken event stream it is tried again.
const RECONNECT: Duration = Duration::from_secs(5);

/// What a pod looked like: state by container and sandbox.
type Snapshot = BTreeMap<String, BTreeMap<String, i32>>;

/// Lists until shutdown.
pub(crate) async fn relist(agent: Arc<Agent>, has_events: Arc<std::sync::atomic::AtomicBool>) {
    let mut last = Snapshot::new();
    loop {
        match snapshot(&agent).await {
            Ok(now) => {
                for uid in changed(&last, &now) {
                    agent.poke(&uid);
                }
                last = now;
                agent.node.set_relisted();
            }
            Err(error) => tracing::warn!(%error, "could not list containers"),
        }
        let events = has_events.load(std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(if events { SAFETY_RELIST } else { RELIST }).await;
    }
}

async fn snapshot(agent: &Agent) -> Result<Snapshot, RuntimeError> {
    let mut out = Snapshot::new();
    for sandbox in agent.runtime.list_pod_sandboxes(None).await? {
        if let Some(uid) = sandbox.labels.get(labels::POD_UID) {
            out.entry(uid.clone()).or_default().insert(sandbox.id, sandbox.state);
        }
    }
    for container in agent.runtime.list_containers(None).await? {
        if let Some(uid) = container.labels.get(labels::POD_UID) {
            out.entry(uid.clone()).or_default().insert(container.id, container.state);
        }
    }
    Ok(out)
}

/// The pods that differ.
fn changed(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let gone = old.keys().filter(|uid| !new.contains_key(*uid));
    gone.chain(new.iter().filter(|(uid, state)| old.get(*uid) != Some(*state)).map(|(uid, _)| uid)).cloned().collect()
}

/// Follows the runtime's events until shutdown; ends where it has none.
pub(crate) async fn events(agent: Arc<Agent>, has_events: Arc<std::sync::atomic::AtomicBool>) {
    loop {
        match agent.runtime.container_events().await {
            Ok(mut stream) => {
                has_events.store(true, std::sync::atomic::Ordering::Relaxed);
                while let Some(Ok(event)) = stream.next().await {
                    if let Some(metadata) = event.pod_sandbox_status.and_then(|status| status.metadata) {
                        agent.poke(&metadata.uid);
                    }
                }
                has_events.store(false, std::sync::atomic::Ordering::Relaxed);
            }
            Err(error) if error.is_unimplemented() => return,
            Err(error) => tracing::debug!(%error, "no container events"),
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let snapshot = |pods: &[(&str, &[(&str, i32)])]| -> Snapshot {
            let parts = |parts: &[(&str, i32)]| parts.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect();
            pods.iter().map(|(uid, list)| ((*uid).to_owned(), parts(list))).collect()
        };
        let old = snapshot(&[("gone", &[("a", 1)]), ("same", &[("b", 1)]), ("ended", &[("c", 1)])]);
        let new = snapshot(&[("same", &[("b", 1)]), ("ended", &[("c", 2)]), ("new", &[("d", 0)])]);
        assert_eq!(changed(&old, &new), ["gone", "ended", "new"]);
    }
}
