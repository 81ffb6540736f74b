//! Permit: pods that have a node and wait for the word of plugins before they are bound.
//!
//! A plugin allows the pod, refuses it, or makes it wait for at most so long. A waiting pod goes ahead once every plugin that
//! made it wait has allowed it; one rejection, or the first of its deadlines, sends it back. Plugins see who waits and answer with
//! data ([`Verdicts`]); the loop carries it out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Refusal;
use crate::cache::PodInfo;

/// No plugin makes a pod wait for longer.
const MAX_WAIT: Duration = Duration::from_secs(15 * 60);

/// What a plugin says of the pod that was just given a node.
#[derive(Debug)]
pub enum Permit {
    /// Go ahead.
    Allow,
    /// Wait until this plugin allows it, at most so long.
    Wait(Duration),
    /// Not there.
    Refuse(Refusal),
}

/// What a plugin says of pods that wait, by their UIDs.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Pods that this plugin no longer holds back.
    pub allow: Vec<Arc<str>>,
    /// Pods that are sent back, and why.
    pub reject: Vec<(Arc<str>, String)>,
}

/// A pod that waits.
#[derive(Debug)]
pub struct WaitingPod {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// The node that it was given.
    pub node: String,
    /// The plugins that hold it back: since when it waits, and until when at most.
    pending: BTreeMap<&'static str, (Instant, Instant)>,
}

impl WaitingPod {
    /// The plugins that hold it back.
    pub fn pending(&self) -> impl Iterator<Item = &'static str> {
        self.pending.keys().copied()
    }
}

/// How waiting ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every plugin allowed it.
    Allowed,
    /// The plugin sent it back, in these words.
    Rejected(&'static str, String),
}

/// The pods that wait, by UID.
#[derive(Debug, Default)]
pub struct WaitingPods(BTreeMap<Arc<str>, WaitingPod>);

impl WaitingPods {
    /// Every pod that waits.
    pub fn iter(&self) -> impl Iterator<Item = &WaitingPod> {
        self.0.values()
    }

    /// The waiting pod with that UID.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&WaitingPod> {
        self.0.get(uid)
    }

    /// Makes a pod wait for these plugins.
    pub(crate) fn insert(&mut self, pod: Arc<PodInfo>, node: String, waits: &[(&'static str, Duration)], now: Instant) {
        let pending = waits.iter().map(|(plugin, wait)| (*plugin, (now, now + (*wait).min(MAX_WAIT)))).collect();
        self.0.insert(pod.uid.clone(), WaitingPod { pod, node, pending });
    }

    /// Forgets a pod.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<WaitingPod> {
        self.0.remove(uid)
    }

    /// Takes in what a plugin says; gives those back whose wait is over.
    pub(crate) fn judge(&mut self, plugin: &'static str, verdicts: Verdicts) -> Vec<(Arc<str>, End)> {
        let mut ended = Vec::new();
        for uid in verdicts.allow {
            let Some(waiting) = self.0.get_mut(&uid) else { continue };
            waiting.pending.remove(plugin);
            if waiting.pending.is_empty() {
                ended.push((uid, End::Allowed));
            }
        }
        let rejected = verdicts.reject.into_iter().filter(|(uid, _)| self.0.contains_key(uid));
        ended.extend(rejected.map(|(uid, why)| (uid, End::Rejected(plugin, why))));
        ended
    }

    /// Those that have waited for too long.
    pub(crate) fn expired(&self, now: Instant) -> Vec<(Arc<str>, End)> {
        let late = |(uid, waiting): (&Arc<str>, &WaitingPod)| {
            let (plugin, (since, until)) = waiting.pending.iter().min_by_key(|(_, (_, until))| *until)?;
            let waited = component_base::duration::format_duration(*until - *since);
            let why = format!("rejected due to timeout after waiting {waited} at plugin {plugin}");
            (*until <= now).then(|| (uid.clone(), End::Rejected(plugin, why)))
        };
        self.0.iter().filter_map(late).collect()
    }

    /// When the first of them has waited for too long.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().flat_map(|waiting| waiting.pending.values()).map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn waiting(waits: &[(&'static str, Duration)], now: Instant) -> (WaitingPods, Arc<str>) {
        let pod = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {"containers": []}});
        let pod = Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())));
        let mut pods = WaitingPods::default();
        pods.insert(pod, "n".to_owned(), waits, now);
        (pods, "u".into())
    }

    fn allow(uid: &Arc<str>) -> Verdicts {
        Verdicts { allow: vec![uid.clone()], ..Verdicts::default() }
    }

    #[test]
    fn everyone_who_holds_it_back_must_allow() {
        let now = Instant::now();
        let (mut pods, uid) = waiting(&[("A", Duration::from_secs(10)), ("B", Duration::from_secs(5))], now);
        assert!(pods.judge("A", allow(&uid)).is_empty());
        assert!(pods.judge("A", allow(&uid)).is_empty(), "twice is once");
        assert_eq!(pods.judge("B", allow(&uid)), [(uid.clone(), End::Allowed)]);
        let reject = Verdicts { reject: vec![(uid.clone(), "no".to_owned())], ..Verdicts::default() };
        assert_eq!(pods.judge("C", reject), [(uid, End::Rejected("C", "no".to_owned()))]);
    }

    #[test]
    fn the_first_deadline_ends_the_wait() {
        let now = Instant::now();
        let (pods, uid) = waiting(&[("A", Duration::from_secs(90)), ("B", Duration::from_secs(5))], now);
        assert_eq!(pods.next_deadline(), Some(now + Duration::from_secs(5)));
        assert!(pods.expired(now + Duration::from_secs(4)).is_empty());
        let why = "rejected due to timeout after waiting 5s at plugin B".to_owned();
        assert_eq!(pods.expired(now + Duration::from_secs(5)), [(uid, End::Rejected("B", why))]);
    }

    #[test]
    fn nobody_waits_for_more_than_a_quarter_of_an_hour() {
        let now = Instant::now();
        let (pods, _) = waiting(&[("A", Duration::from_secs(3600))], now);
        assert_eq!(pods.next_deadline(), Some(now + Duration::from_secs(900)));
    }
}
