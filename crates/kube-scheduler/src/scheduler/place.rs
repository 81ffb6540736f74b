//! From a decision to a binding: the pod is assumed on its node, the plugins permit it, the binder writes. And the way back.

use std::sync::Arc;

use tokio::time::Instant;

use super::Scheduler;
use crate::{
    binder::{Bind, Writer},
    cache::PodInfo,
    framework::{Assumed, ClusterEvent, Code, Context, End, Permit, Planned, Point, Profile, Refusal, Verdicts},
    queue::Waiting,
    schedule::Unschedulable,
};

/// What the plugins said together.
enum Permitted {
    /// Bind at once.
    Now,
    /// Bind once these allow it.
    Later(Vec<(&'static str, std::time::Duration)>),
    /// One refuses.
    Never(&'static str, Refusal),
}

impl<W: Writer> Scheduler<W> {
    /// Sends the pod to its node, at once or when the plugins permit it.
    pub(super) fn place(&mut self, profile: &Profile, waiting: Waiting, node: String, writes: Vec<Planned>) {
        let pod = waiting.pod.clone();
        self.cache.assume(Arc::new(pod.assigned_to(&node)), &node);
        self.unnominate(&pod.key);
        let catalog = &mut self.cache.snapshot.catalog;
        let assumed = writes.iter().filter_map(|planned| planned.write.assume(catalog)).collect();
        let bind = Bind { waiting, node, writes, assumed };
        let (permitted, ended) = self.ask_for_permits(profile, &bind);
        match permitted {
            Permitted::Now => self.writer.bind(bind),
            Permitted::Later(waits) => {
                tracing::debug!(pod = %pod.key, node = bind.node, "waits for a permit");
                self.writer.nominate(&pod, &bind.node);
                self.permits.insert(pod.clone(), bind.node.clone(), &waits, Instant::now());
                self.parked.insert(pod.uid.clone(), bind);
            }
            Permitted::Never(plugin, refusal) => self.send_back(bind, plugin, refusal),
        }
        self.end_permits(ended);
    }

    /// Asks until one refuses.
    fn ask_for_permits(&mut self, profile: &Profile, bind: &Bind) -> (Permitted, Vec<(Arc<str>, End)>) {
        let (mut waits, mut ended) = (Vec::new(), Vec::new());
        for enabled in profile.at(Point::Permit) {
            let cx = Context { snapshot: &self.cache.snapshot, pod: &bind.waiting.pod };
            let (permit, verdicts) = enabled.plugin.permit(cx, &bind.node, &self.permits);
            ended.extend(self.permits.judge(enabled.name, verdicts));
            match permit {
                Permit::Allow => {}
                Permit::Wait(limit) => waits.push((enabled.name, limit)),
                Permit::Refuse(refusal) => return (Permitted::Never(enabled.name, refusal), ended),
            }
        }
        (if waits.is_empty() { Permitted::Now } else { Permitted::Later(waits) }, ended)
    }

    /// Carries out what became of waiting pods.
    fn end_permits(&mut self, ended: Vec<(Arc<str>, End)>) {
        for (uid, end) in ended {
            // One that was sent back because of another that was sent back is not waiting any more.
            if self.permits.remove(&uid).is_none() {
                continue;
            }
            let Some(bind) = self.parked.remove(&uid) else { continue };
            match end {
                End::Allowed => self.writer.bind(bind),
                End::Rejected(plugin, why) => {
                    let freed = Arc::new(bind.waiting.pod.assigned_to(&bind.node));
                    self.send_back(
                        bind,
                        plugin,
                        Refusal { code: Code::Unschedulable, reasons: vec![why.into()].into() },
                    );
                    self.announce(&ClusterEvent::AssignedPodDeleted(freed));
                }
            }
        }
    }

    /// Sends those back that have waited for too long.
    pub(super) fn expire_permits(&mut self) {
        let late = self.permits.expired(Instant::now());
        self.end_permits(late);
    }

    /// Forgets a waiting pod that is gone, or that somebody else bound.
    pub(super) fn unpark(&mut self, uid: &str) {
        self.permits.remove(uid);
        if let Some(bind) = self.parked.remove(uid) {
            self.unreserve(&bind.waiting.pod, &bind.node, bind.assumed);
        }
    }

    /// Victims that only wait for their binding are sent back; the others are left to be evicted.
    pub(super) fn send_waiting_victims_back(&mut self, victims: Vec<Arc<PodInfo>>) -> Vec<Arc<PodInfo>> {
        let (waiting, running): (Vec<_>, Vec<_>) =
            victims.into_iter().partition(|v| self.permits.get(&v.uid).is_some());
        let preempted =
            |victim: &Arc<PodInfo>| (victim.uid.clone(), End::Rejected("DefaultPreemption", "preempted".to_owned()));
        self.end_permits(waiting.iter().map(preempted).collect());
        running
    }

    /// A pod that may not go to its node after all waits on as one that fits nowhere.
    fn send_back(&mut self, bind: Bind, plugin: &'static str, refusal: Refusal) {
        let slot = self.cache.snapshot.node(&bind.node).map_or(usize::MAX, |node| node.slot);
        self.cache.forget(&bind.waiting.pod.key);
        self.unreserve(&bind.waiting.pod, &bind.node, bind.assumed);
        self.refuse(bind.waiting, Unschedulable::after_decision(plugin, slot, refusal));
    }

    /// Takes back what was reserved, the last first.
    pub(super) fn unreserve(&mut self, pod: &PodInfo, node: &str, assumed: Vec<Assumed>) {
        let catalog = &mut self.cache.snapshot.catalog;
        assumed.into_iter().rev().for_each(|assumption| assumption.undo(catalog));
        let Some(profile) = self.profile_of(&pod.pod).cloned() else { return };
        for enabled in profile.at(Point::Reserve).iter().rev() {
            let verdicts: Verdicts = enabled.plugin.unreserve(pod, node, &self.permits);
            let ended = self.permits.judge(enabled.name, verdicts);
            self.end_permits(ended);
        }
    }
}
