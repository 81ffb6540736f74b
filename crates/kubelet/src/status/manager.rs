//! The only writer of pod status, and of the final deletion of pods whose end is complete.
//!
//! Workers hand in statuses; one task sends what changed: it reads the pod, keeps conditions that are not the kubelet's, and
//! patches with the read object's version, so that a condition that somebody else writes at the same time is never lost. A failed
//! write is tried again until it succeeds or the pod is gone.

use super::conditions::OWNED;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long after a failure the next try is made.
const RETRY: Duration = Duration::from_secs(1);
/// How often statuses that somebody overwrote are sent again.
const ROUND: Duration = Duration::from_secs(10);

struct Entry {
    pod: Arc<Pod>,
    status: PodStatus,
    /// Rises with each change.
    version: u64,
    /// The last version that the API server has.
    sent: u64,
    /// Nothing of the pod is left on this node: it may be deleted for good.
    finished: bool,
    /// The API shows another status than the one sent.
    overwritten: bool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
}

/// Holds the status of every pod and writes it to the API.
pub(crate) struct StatusManager {
    client: Option<kube::Client>,
    state: Mutex<State>,
    changed: Notify,
}

enum Sent {
    /// Written (or nothing to write).
    Done,
    /// The pod is not there any more.
    Gone,
}

impl StatusManager {
    /// Writes through `client`; without one it only remembers.
    pub(crate) fn new(client: Option<kube::Client>) -> Arc<Self> {
        Arc::new(Self { client, state: Mutex::default(), changed: Notify::new() })
    }

    /// The status of a pod as this kubelet knows it, else as the API does.
    pub(crate) fn status(&self, pod: &Pod) -> PodStatus {
        let known = self.state.lock().entries.get(pod.pod_uid()).map(|entry| entry.status.clone());
        known.or_else(|| pod.status.clone()).unwrap_or_default()
    }

    /// Sets a pod's status.
    pub(crate) fn set(&self, pod: &Arc<Pod>, status: PodStatus) {
        let mut state = self.state.lock();
        let uid = pod.pod_uid().to_owned();
        match state.entries.get_mut(&uid) {
            Some(entry) => {
                entry.pod = pod.clone();
                if entry.status == status {
                    return;
                }
                entry.status = status;
                entry.version += 1;
            }
            None => {
                state.entries.insert(
                    uid,
                    Entry { pod: pod.clone(), status, version: 1, sent: 0, finished: false, overwritten: false },
                );
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing of the pod is left here: once its status is written, a pod that is being deleted goes.
    pub(crate) fn finish(&self, pod: &Arc<Pod>) {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(pod.pod_uid()) {
            entry.pod = pod.clone();
            entry.finished = true;
            entry.version += 1;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Sends the status again: somebody overwrote it, or the mirror pod is new.
    pub(crate) fn resend(&self, uid: &str) {
        if let Some(entry) = self.state.lock().entries.get_mut(uid) {
            entry.version += 1;
        }
        self.changed.notify_one();
    }

    /// Looks whether the API shows the status that was sent last; where somebody overwrote it, it is sent again at the next
    /// round (upstream's ten seconds: others may look at what they wrote).
    pub(crate) fn reconcile(&self, pod: &Pod) {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get_mut(pod.pod_uid()) {
            entry.overwritten = entry.sent == entry.version && patch(pod, &entry.status).is_some();
        }
    }

    fn resend_overwritten(&self) {
        for entry in self.state.lock().entries.values_mut().filter(|entry| entry.overwritten) {
            entry.overwritten = false;
            entry.version += 1;
        }
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.state.lock().entries.remove(uid);
    }

    /// Sends changes until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(client) = self.client.clone() else { return };
        let mut round = tokio::time::Instant::now() + ROUND;
        loop {
            let failed = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                failed = self.send_all(&client) => failed,
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(RETRY), if failed => {}
                () = tokio::time::sleep_until(round) => {
                    self.resend_overwritten();
                    round += ROUND;
                }
            }
        }
    }

    /// Sends everything that changed; whether something has to be tried again.
    async fn send_all(&self, client: &kube::Client) -> bool {
        let due: Vec<String> = {
            let state = self.state.lock();
            state.entries.iter().filter(|(_, entry)| entry.sent < entry.version).map(|(uid, _)| uid.clone()).collect()
        };
        let mut failed = false;
        for uid in due {
            let snapshot =
                self.state.lock().entries.get(&uid).map(|e| (e.pod.clone(), e.status.clone(), e.version, e.finished));
            let Some((pod, status, version, finished)) = snapshot else { continue };
            match send(client, &pod, &status, finished).await {
                Ok(outcome) => {
                    let mut state = self.state.lock();
                    match outcome {
                        Sent::Gone if finished => drop(state.entries.remove(&uid)),
                        _ => {
                            if let Some(entry) = state.entries.get_mut(&uid) {
                                entry.sent = version;
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(pod = %pod.key(), %error, "could not write a pod's status");
                    failed = true;
                }
            }
        }
        failed
    }
}

async fn send(client: &kube::Client, pod: &Pod, status: &PodStatus, finished: bool) -> Result<Sent, kube::Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.ns());
    let Some(current) = api.get_opt(pod.pod_name()).await? else { return Ok(Sent::Gone) };
    let same = match pod.is_static() {
        true => current.is_mirror(),
        false => current.metadata.uid == pod.metadata.uid,
    };
    if !same {
        return Ok(Sent::Gone);
    }
    if let Some(patch) = patch(&current, status) {
        api.patch_status(pod.pod_name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    // The end of a static pod's mirror is the mirror client's business.
    if finished && !pod.is_static() && current.is_deleted() {
        let preconditions = Preconditions { uid: current.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(pod.pod_name(), &params).await {
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
            answer => drop(answer?),
        }
    }
    Ok(Sent::Done)
}

/// The JSON merge patch from what the API has to `status`; none when nothing changes.
fn patch(current: &Pod, status: &PodStatus) -> Option<Value> {
    let old = current.status.clone().unwrap_or_default();
    let mut new = status.clone();
    let mine = |type_: &str| OWNED.contains(&type_);
    let scheduled = old.conditions.iter().flatten().any(|condition| condition.type_ == "PodScheduled");
    let mut conditions: Vec<_> = new.conditions.take().unwrap_or_default();
    conditions.retain(|condition| {
        mine(&condition.type_)
            || (condition.type_ == "PodScheduled" && !scheduled)
            || condition.type_ == "DisruptionTarget"
    });
    let given: Vec<String> = conditions.iter().map(|condition| condition.type_.clone()).collect();
    let kept = old.conditions.iter().flatten().filter(|old| !mine(&old.type_) && !given.contains(&old.type_));
    conditions.extend(kept.cloned());
    new.conditions = Some(conditions);
    // What others own in the status stays as it is.
    new.nominated_node_name = old.nominated_node_name.clone();
    new.resource_claim_statuses = old.resource_claim_statuses.clone();
    new.extended_resource_claim_status = old.extended_resource_claim_status.clone();
    new.node_allocatable_resource_claim_statuses = old.node_allocatable_resource_claim_statuses.clone();
    new.resize = old.resize.clone();
    let (old, new) = (serde_json::to_value(old).ok()?, serde_json::to_value(new).ok()?);
    let difference = diff(&old, &new)?;
    let metadata = json!({"uid": current.metadata.uid, "resourceVersion": current.metadata.resource_version});
    Some(json!({"metadata": metadata, "status": difference}))
}

/// The merge patch that turns `old` into `new`.
pub(crate) fn diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut out = serde_json::Map::new();
            for (key, value) in new {
                match old.get(key) {
                    Some(before) => out.extend(diff(before, value).map(|change| (key.clone(), change))),
                    None => drop(out.insert(key.clone(), value.clone())),
                }
            }
            out.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
            (!out.is_empty()).then_some(Value::Object(out))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    #[test]
    fn others_conditions_stay() {
        let current: Pod = from_value(
            json!({"metadata": {"uid": "u", "resourceVersion": "7"}, "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "my/gate", "status": "True"}, {"type": "Ready", "status": "False"}],
            "resourceClaimStatuses": [{"name": "c"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "c", "requestMappings": []}}}),
        )
        .unwrap();
        let status: PodStatus = from_value(json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]}))
        .unwrap();
        let out = patch(&current, &status).unwrap();
        assert_eq!(out["metadata"]["resourceVersion"], "7");
        assert_eq!(out["status"]["podIP"], "10.0.0.1");
        let types: Vec<_> =
            out["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["Ready", "PodScheduled", "my/gate"]);
        assert_eq!(out["status"]["conditions"][1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        let others = ["resourceClaimStatuses", "extendedResourceClaimStatus"];
        assert!(others.iter().all(|field| out["status"].get(field).is_none()), "{out}");
    }

    #[test]
    fn merge_patches() {
        let difference =
            diff(&json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]}), &json!({"b": {"c": 1}, "e": [2], "f": 3}));
        assert_eq!(difference, Some(json!({"a": null, "b": {"d": null}, "e": [2], "f": 3})));
        assert_eq!(diff(&json!({"a": 1}), &json!({"a": 1})), None);
    }
}
