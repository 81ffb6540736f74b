//! The pods that the kubelet knows, and the mailbox of each one's worker.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

#[derive(Debug)]
struct Mail {
    pod: Arc<Pod>,
    dirty: bool,
    removed: bool,
}

/// The newest word on one pod; older ones are overwritten.
#[derive(Debug)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    changed: Notify,
}

impl Mailbox {
    fn new(pod: Arc<Pod>) -> Self {
        Self { mail: Mutex::new(Mail { pod, dirty: true, removed: false }), changed: Notify::new() }
    }

    /// The pod as last seen.
    pub(crate) fn pod(&self) -> Arc<Pod> {
        self.mail.lock().pod.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail.lock());
        self.changed.notify_one();
    }

    /// A new version of the pod; a sync is due when it matters to the containers.
    pub(crate) fn update(&self, pod: Arc<Pod>) {
        self.change(|mail| {
            mail.dirty |= matters(&mail.pod, &pod);
            mail.pod = pod;
        });
    }

    /// The pod is to be looked at.
    pub(crate) fn poke(&self) {
        self.change(|mail| mail.dirty = true);
    }

    /// The pod is gone from where it came from.
    pub(crate) fn remove(&self) {
        self.change(|mail| mail.removed = true);
    }

    /// Whether the pod is gone from where it came from.
    pub(crate) fn is_removed(&self) -> bool {
        self.mail.lock().removed
    }

    /// Whether the pod must stop.
    pub(crate) fn must_stop(&self) -> bool {
        let mail = self.mail.lock();
        mail.removed || mail.pod.is_deleted() || mail.pod.ended()
    }

    /// The seconds of grace that the end is granted.
    pub(crate) fn grace(&self) -> i64 {
        self.mail.lock().pod.grace_seconds()
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the note that something is to be done.
    pub(crate) fn take_dirty(&self) -> bool {
        std::mem::take(&mut self.mail.lock().dirty)
    }

    /// Waits until the pod must stop.
    pub(crate) async fn until_stop(&self) {
        while !self.must_stop() {
            self.changed().await;
        }
    }

    /// Waits until the pod is gone from where it came from.
    pub(crate) async fn until_removed(&self) {
        while !self.is_removed() {
            self.changed().await;
        }
    }
}

/// Whether the change from `old` to `new` matters to the containers. Our own status updates come back as changes, too.
fn matters(old: &Pod, new: &Pod) -> bool {
    let gates = |pod: &Pod| {
        let wanted =
            pod.spec().readiness_gates.iter().flatten().map(|gate| gate.condition_type.clone()).collect::<Vec<_>>();
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.into_iter().filter(|c| wanted.contains(&c.type_)).map(|c| (c.type_, c.status)).collect::<Vec<_>>()
    };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || gates(old) != gates(new)
}

struct Entry {
    mailbox: Arc<Mailbox>,
    /// Passed admission and not over: counts for the fit of others.
    admitted: bool,
    /// The same pod came back before the worker was done with its removal.
    pending: Option<Arc<Pod>>,
}

/// All pods, by UID, and mirror pods by `namespace/name`.
#[derive(Default)]
pub(crate) struct PodTable {
    entries: Mutex<BTreeMap<String, Entry>>,
    mirrors: Mutex<BTreeMap<String, Arc<Pod>>>,
}

impl PodTable {
    /// Adds a pod or a new version of it; a mailbox when a worker has to be started.
    pub(crate) fn upsert(&self, pod: &Arc<Pod>) -> Option<Arc<Mailbox>> {
        let mut entries = self.entries.lock();
        let uid = pod.pod_uid().to_owned();
        if let Some(entry) = entries.get_mut(&uid) {
            match entry.mailbox.is_removed() {
                true => entry.pending = Some(pod.clone()),
                false => entry.mailbox.update(pod.clone()),
            }
            return None;
        }
        let mailbox = Arc::new(Mailbox::new(pod.clone()));
        entries.insert(uid, Entry { mailbox: mailbox.clone(), admitted: false, pending: None });
        Some(mailbox)
    }

    /// The mailbox of a pod.
    pub(crate) fn mailbox(&self, uid: &str) -> Option<Arc<Mailbox>> {
        self.entries.lock().get(uid).map(|entry| entry.mailbox.clone())
    }

    /// The pod is gone from where it came from.
    pub(crate) fn remove(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.pending = None;
            entry.mailbox.remove();
        }
    }

    /// The worker is done; the pod to start anew, if it came back meanwhile.
    pub(crate) fn finished(&self, uid: &str) -> Option<Arc<Pod>> {
        self.entries.lock().remove(uid)?.pending
    }

    /// All pods.
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.entries.lock().values().map(|entry| entry.mailbox.pod()).collect()
    }

    /// A pod by UID.
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<Pod>> {
        self.mailbox(uid).map(|mailbox| mailbox.pod())
    }

    /// Pods of that namespace and name; more than one while a static pod is replaced.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Vec<Arc<Pod>> {
        self.all().into_iter().filter(|pod| pod.ns() == namespace && pod.pod_name() == name).collect()
    }

    /// Whether another static pod of the same name runs, or comes first of those that wait.
    pub(crate) fn is_name_taken(&self, pod: &Pod) -> bool {
        self.entries.lock().iter().any(|(uid, entry)| {
            let other = entry.mailbox.pod();
            let same = other.is_static() && other.ns() == pod.ns() && other.pod_name() == pod.pod_name();
            same && (entry.admitted && uid != pod.pod_uid() || uid.as_str() < pod.pod_uid())
        })
    }

    /// Looks at all pods.
    pub(crate) fn poke_all(&self) {
        for entry in self.entries.lock().values() {
            entry.mailbox.poke();
        }
    }

    /// Runs the admission check of a pod against the pods admitted so far, and notes the outcome. One at a time.
    pub(crate) fn admit<E>(&self, uid: &str, check: impl FnOnce(&[Arc<Pod>]) -> Result<(), E>) -> Result<(), E> {
        let mut entries = self.entries.lock();
        let others: Vec<_> = (entries.iter())
            .filter(|(other, entry)| *other != uid && entry.admitted)
            .map(|(_, entry)| entry.mailbox.pod())
            .collect();
        check(&others)?;
        if let Some(entry) = entries.get_mut(uid) {
            entry.admitted = true;
        }
        Ok(())
    }

    /// The pod does not use the node's resources any more.
    pub(crate) fn release(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().get_mut(uid) {
            entry.admitted = false;
        }
    }

    /// The mirror pod of a static pod.
    pub(crate) fn mirror(&self, key: &str) -> Option<Arc<Pod>> {
        self.mirrors.lock().get(key).cloned()
    }

    /// All mirror pods.
    pub(crate) fn mirrors(&self) -> Vec<Arc<Pod>> {
        self.mirrors.lock().values().cloned().collect()
    }

    /// A mirror pod was seen, or is gone.
    pub(crate) fn set_mirror(&self, key: &str, pod: Option<Arc<Pod>>) {
        match pod {
            Some(pod) => drop(self.mirrors.lock().insert(key.to_owned(), pod)),
            None => drop(self.mirrors.lock().remove(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn pod(uid: &str, extra: serde_json::Value) -> Arc<Pod> {
        let mut value = json!({"metadata": {"name": "p", "namespace": "n", "uid": uid}, "spec": {"containers": []}});
        value["status"] = extra;
        Arc::new(from_value(value).unwrap())
    }

    #[test]
    fn status_changes_do_not_wake_the_worker() {
        let table = PodTable::default();
        let mailbox = table.upsert(&pod("u", json!({}))).unwrap();
        assert!(mailbox.take_dirty());
        assert!(table.upsert(&pod("u", json!({"phase": "Running"}))).is_none());
        assert!(!mailbox.take_dirty());
        assert!(!mailbox.must_stop());
        table.upsert(&pod("u", json!({"phase": "Failed"})));
        assert!(mailbox.must_stop());
    }

    #[test]
    fn a_pod_that_comes_back_starts_after_the_removal() {
        let table = PodTable::default();
        let first = pod("u", json!({}));
        table.upsert(&first).unwrap();
        table.remove("u");
        assert!(table.upsert(&first).is_none());
        assert!(table.finished("u").is_some());
        assert!(table.get("u").is_none());
    }

    #[test]
    fn one_of_two_static_pods_of_a_name_runs() {
        let make = |uid: &str| {
            let mut pod = pod(uid, json!({})).as_ref().clone();
            pod.metadata.annotations = Some([(crate::pod::SOURCE.to_owned(), "file".to_owned())].into());
            Arc::new(pod)
        };
        let table = PodTable::default();
        let (a, b) = (make("a"), make("b"));
        table.upsert(&a);
        table.upsert(&b);
        assert!(!table.is_name_taken(&a) && table.is_name_taken(&b));
        table.admit("b", |_| Ok::<(), ()>(())).unwrap();
        assert!(table.is_name_taken(&a), "one that runs already is not replaced");
    }

    #[test]
    fn admission_sees_admitted_pods_only() {
        let table = PodTable::default();
        for uid in ["a", "b"] {
            table.upsert(&pod(uid, json!({})));
        }
        let count = |uid: &str| {
            let mut seen = 0;
            let answer: Result<(), ()> = table.admit(uid, |others| {
                seen = others.len();
                Ok(())
            });
            answer.unwrap();
            seen
        };
        assert_eq!((count("a"), count("b")), (0, 1));
        table.release("a");
        assert_eq!(count("b"), 0);
    }
}
