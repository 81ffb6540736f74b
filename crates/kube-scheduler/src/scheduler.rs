//! The loop: takes in changes of the cluster, tries one pod after another, and hands what must be written to the binder.
//!
//! One task owns all state, so that a decision sees the cluster at one moment. Between two attempts every change that has
//! arrived is taken in.

mod place;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api_types::k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::ResourceClaim,
};
use component_base::{clock, rng};
use component_helpers::pods;
use controller_runtime::Event;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    binder::{Bind, Failure, Outcome, Writer},
    cache::{Cache, PodInfo, catalog::Catalog},
    config::Config,
    explain::{self, Explanation},
    framework::{ClusterEvent, ConfigError, Point, Profile, WaitingPods, claim_key, extended_key, extended_key_of},
    metrics::Metrics,
    queue::{Queue, Waiting},
    schedule::{Decision, Unschedulable, schedule},
};

/// A change of one of the other objects.
pub(crate) type CatalogChange = Box<dyn FnOnce(&mut Catalog) + Send>;

/// What the loop takes in.
pub(crate) enum Change {
    /// Of a pod.
    Pod(Event<Pod>),
    /// Of a node.
    Node(Event<Node>),
    /// Of a resource claim.
    Claim(Event<ResourceClaim>),
    /// Of an object of that kind.
    Other(&'static str, CatalogChange),
    /// The binder is done with a pod.
    Bound(Box<Outcome>),
    /// Somebody asks why a pod waits.
    Explain(Question),
}

/// Why does the pod with that key wait? Answered with nothing where it does not.
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) rows: usize,
    pub(crate) answer: oneshot::Sender<Option<Explanation>>,
}

/// The state of the loop.
pub(crate) struct Scheduler<W> {
    profiles: BTreeMap<String, Arc<Profile>>,
    cache: Cache,
    queue: Queue,
    /// On which node each nominated pod waits for room.
    nominations: HashMap<Arc<str>, String>,
    /// Pods that have a node and wait for the word of plugins, and the bindings that follow it.
    permits: WaitingPods,
    parked: BTreeMap<Arc<str>, Bind>,
    /// Where the last search among many nodes ended.
    start: usize,
    writer: W,
    metrics: Metrics,
}

impl<W: Writer> Scheduler<W> {
    pub(crate) fn new(config: &Config, writer: W) -> Result<Self, ConfigError> {
        let mut profiles = BTreeMap::new();
        for profile in &config.profiles {
            let mut made = Profile::of(profile, config.percentage_of_nodes_to_score, &config.registry)?;
            made.extenders = config.extenders.clone();
            profiles.insert(profile.scheduler_name.clone(), Arc::new(made));
        }
        Ok(Scheduler {
            profiles,
            cache: Cache::default(),
            queue: Queue::new(config.initial_backoff, config.max_backoff),
            nominations: HashMap::new(),
            permits: WaitingPods::default(),
            parked: BTreeMap::new(),
            start: 0,
            writer,
            metrics: Metrics::shared(),
        })
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, mut changes: mpsc::UnboundedReceiver<Change>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            while let Ok(change) = changes.try_recv() {
                self.take_in(change);
            }
            self.queue.flush(Instant::now());
            self.expire_permits();
            if let Some(waiting) = self.queue.pop() {
                self.attempt(waiting);
                // The binder and the watches share the thread.
                tokio::task::yield_now().await;
                continue;
            }
            self.metrics.pending(self.queue.counts());
            let next = self.queue.next_flush().into_iter().chain(self.permits.next_deadline()).min();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                change = changes.recv() => match change {
                    Some(change) => self.take_in(change),
                    None => return,
                },
                () = sleep_until(next) => {}
            }
        }
    }

    pub(crate) fn take_in(&mut self, change: Change) {
        match change {
            Change::Pod(Event::Deleted(pod)) => self.pod_gone(&pod),
            Change::Pod(event) => {
                self.pod_changed(event.object(), event.old().filter(|_| !matches!(event, Event::Added(_))))
            }
            Change::Node(event) => self.node_changed(event),
            Change::Claim(event) => self.claim_changed(event),
            Change::Other(kind, change) => {
                change(&mut self.cache.snapshot.catalog);
                self.announce(&ClusterEvent::Other(kind));
            }
            Change::Bound(outcome) => self.bound(*outcome),
            // Who asked may have gone.
            Change::Explain(question) => drop(question.answer.send(self.explain(&question.key, question.rows))),
        }
    }

    fn explain(&mut self, key: &str, rows: usize) -> Option<Explanation> {
        self.cache.snapshot.settle();
        if let Some(bind) = self.parked.values().find(|bind| &*bind.waiting.pod.key == key) {
            let profile = self.profile_of(&bind.waiting.pod.pod)?;
            let mut explanation = explain::explain(profile, &self.cache.snapshot, &bind.waiting.pod, 0);
            explanation.place = explain::Place::Binding;
            explanation.refused_by = self.permits.get(&bind.waiting.pod.uid)?.pending().collect();
            return Some(explanation);
        }
        let waiting = self.queue.get(key)?;
        let profile = self.profile_of(&waiting.pod.pod)?;
        let mut explanation = explain::explain(profile, &self.cache.snapshot, &waiting.pod, rows);
        explanation.place = self.queue.place(key)?;
        explanation.attempts = waiting.attempts;
        explanation.refused_by = waiting.refused_by.iter().copied().collect();
        Some(explanation)
    }

    // --- changes ---

    fn pod_changed(&mut self, pod: &Arc<Pod>, old: Option<&Arc<Pod>>) {
        if pods::is_terminal(pod) {
            self.pod_gone(pod);
            return;
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        if info.node_name().is_some() {
            self.queue.remove(&info.key);
            self.unnominate(&info.key);
            self.unpark(&info.uid);
            match self.cache.set_pod(info.clone()) {
                None => self.announce(&ClusterEvent::AssignedPodAdded(info)),
                Some(before) if concerns_others(&before, &info) => {
                    self.announce(&ClusterEvent::AssignedPodUpdated(before, info));
                }
                Some(_) => {}
            }
        } else if self.profile_of(pod).is_some() && !self.cache.is_placed(&info) {
            self.waiting_pod_changed(info, old);
        }
    }

    fn waiting_pod_changed(&mut self, info: Arc<PodInfo>, old: Option<&Arc<Pod>>) {
        let nominated = info.pod.status.as_ref().and_then(|s| s.nominated_node_name.clone()).filter(|n| !n.is_empty());
        match nominated {
            Some(node) => self.nominate(info.clone(), node),
            None => self.unnominate(&info.key),
        }
        let (key, now) = (info.key.clone(), Instant::now());
        let gate = self.gate(&info);
        if !self.queue.update(info.clone()) {
            self.queue.add(info, gate, clock::now(), now);
        } else if gate.is_none() && self.queue.is_gated(&key) {
            self.queue.ungate(&key, now);
        } else if let Some(old) = old.filter(|old| is_different(old, &info.pod)) {
            let event = ClusterEvent::PodUpdated(old.clone(), info.pod.clone());
            if self.queue.get(&key).is_some_and(|waiting| self.helps(waiting, &event)) {
                self.queue.move_on(&key, now);
            }
        }
    }

    fn pod_gone(&mut self, pod: &Arc<Pod>) {
        let key = pods::key(pod);
        self.queue.remove(&key);
        self.unnominate(&key);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.unpark(uid);
        self.cache.snapshot.catalog.allocating.remove(&extended_key_of(uid));
        if let Some(info) = self.cache.remove_pod(&key) {
            self.announce(&ClusterEvent::AssignedPodDeleted(info));
        }
    }

    fn node_changed(&mut self, event: Event<Node>) {
        match event {
            Event::Added(node) => {
                self.cache.set_node(node.clone());
                self.announce(&ClusterEvent::NodeAdded(node));
            }
            Event::Updated { old, new } => {
                self.cache.set_node(new.clone());
                if matters(&old, &new) {
                    self.announce(&ClusterEvent::NodeUpdated(old, new));
                }
            }
            Event::Deleted(node) => {
                self.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default());
                // A place less may let a spread pod fit elsewhere: to the plugins the node lost all that it had.
                self.announce(&ClusterEvent::NodeUpdated(node, Arc::default()));
            }
        }
    }

    fn claim_changed(&mut self, event: Event<ResourceClaim>) {
        let claims = &mut self.cache.snapshot.catalog.resource_claims;
        let key = claim_key(event.object());
        let (before, after) = match event {
            Event::Added(claim) => (None, Some(claim)),
            Event::Updated { old, new } => (Some(old), Some(new)),
            Event::Deleted(claim) => (Some(claim), None),
        };
        match &after {
            Some(claim) => claims.insert(key, claim.clone()),
            None => claims.remove(&key),
        };
        let made = after.iter().filter(|claim| claim.status.as_ref().is_some_and(|s| s.allocation.is_some()));
        for key in made.filter_map(|claim| extended_key(claim)) {
            self.cache.snapshot.catalog.allocating.remove(&key);
        }
        self.ungate();
        self.announce(&ClusterEvent::ClaimChanged { before, after });
    }

    /// Lets the pods go ahead that nothing holds back any more.
    fn ungate(&mut self) {
        let open: Vec<_> = self.queue.gated().filter(|pod| self.gate(pod).is_none()).map(|p| p.key.clone()).collect();
        let now = Instant::now();
        open.iter().for_each(|key| self.queue.ungate(key, now));
    }

    /// Moves the refused pods on that the event may help.
    fn announce(&mut self, event: &ClusterEvent) {
        let profiles = &self.profiles;
        self.queue.moved(Instant::now(), |waiting| helps(profiles, waiting, event));
    }

    fn helps(&self, waiting: &Waiting, event: &ClusterEvent) -> bool {
        helps(&self.profiles, waiting, event)
    }

    // --- attempts ---

    fn profile_of(&self, pod: &Pod) -> Option<&Arc<Profile>> {
        let name = pod.spec.as_ref().and_then(|s| s.scheduler_name.as_deref()).filter(|n| !n.is_empty());
        self.profiles.get(name.unwrap_or("default-scheduler"))
    }

    /// The plugin that holds the pod back.
    fn gate(&self, pod: &PodInfo) -> Option<&'static str> {
        let profile = self.profile_of(&pod.pod)?;
        let catalog = &self.cache.snapshot.catalog;
        profile.at(Point::PreEnqueue).iter().find(|e| e.plugin.pre_enqueue(pod, catalog).is_err()).map(|e| e.name)
    }

    fn attempt(&mut self, waiting: Waiting) {
        let pod = waiting.pod.clone();
        // A pod that is being deleted without ever having run needs no node.
        if pod.is_terminating() || self.cache.is_placed(&pod) {
            return;
        }
        let Some(profile) = self.profile_of(&pod.pod).cloned() else { return };
        let started = Instant::now();
        self.cache.snapshot.settle();
        let mut tie = |n: usize| rng::range(0..n as u64) as usize;
        let decision = schedule(&profile, &self.cache.snapshot, &pod, &mut self.start, &mut tie);
        let scheduled = decision.is_ok();
        match decision {
            Ok(Decision { node, evaluated, feasible, writes, .. }) => {
                let (node, feasible) = (node.name().to_owned(), feasible.len());
                tracing::debug!(pod = %pod.key, node, evaluated, feasible, "found a node");
                self.place(&profile, waiting, node, writes);
            }
            Err(why) => self.refuse(waiting, why),
        }
        self.metrics.attempt(&profile.scheduler_name, scheduled, started.elapsed());
    }

    fn refuse(&mut self, waiting: Waiting, why: Unschedulable) {
        let pod = waiting.pod.clone();
        let message = why.message();
        if let Unschedulable::Failed(_) = why {
            tracing::warn!(pod = %pod.key, %message, "an attempt failed");
            self.writer.fail(Failure { message, ..Failure::new(&pod, "SchedulerError") });
            self.queue.failed(waiting, Instant::now());
            return;
        }
        tracing::debug!(pod = %pod.key, %message, "found no node");
        let mut failure = Failure { pod: pod.clone(), message, ..Failure::new(&pod, "Unschedulable") };
        let mut plugins = std::collections::BTreeSet::new();
        if let Unschedulable::Unfit { diagnosis, preemption, clear_nomination, deallocate } = why {
            plugins = diagnosis.plugins;
            failure.deallocate = deallocate;
            if let Some(preemption) = preemption {
                self.nominate(pod.clone(), preemption.node.clone());
                failure.nominate = Some(preemption.node);
                failure.victims = self.send_waiting_victims_back(preemption.victims);
            } else if clear_nomination {
                self.unnominate(&pod.key);
                failure.nominate = Some(String::new());
            }
        }
        self.queue.refused(waiting, plugins, Instant::now());
        self.writer.fail(failure);
    }

    fn bound(&mut self, outcome: Outcome) {
        let Outcome { bind, error, claims } = outcome;
        let profile = self.profile_of(&bind.waiting.pod.pod).cloned();
        let Some(error) = error else {
            for enabled in profile.iter().flat_map(|profile| profile.at(Point::PostBind)) {
                enabled.plugin.post_bind(&bind.waiting.pod, &bind.node);
            }
            let catalog = &mut self.cache.snapshot.catalog;
            bind.assumed.into_iter().for_each(|assumed| assumed.settle(catalog, &claims));
            return;
        };
        let key = bind.waiting.pod.key.clone();
        let was_assumed = self.cache.is_assumed(&key) && self.cache.is_placed(&bind.waiting.pod);
        if was_assumed {
            self.cache.forget(&key);
        }
        self.unreserve(&bind.waiting.pod, &bind.node, bind.assumed);
        // A pod that was deleted or bound meanwhile is no longer ours to try.
        if !was_assumed || error.is_gone {
            return;
        }
        tracing::warn!(pod = %key, node = %bind.node, error = %error.message, "binding failed");
        let freed = Arc::new(bind.waiting.pod.assigned_to(&bind.node));
        self.writer.fail(Failure { message: error.message, ..Failure::new(&bind.waiting.pod, "SchedulerError") });
        self.queue.failed(bind.waiting, Instant::now());
        self.announce(&ClusterEvent::AssignedPodDeleted(freed));
    }

    // --- nominations ---

    fn nominate(&mut self, pod: Arc<PodInfo>, node: String) {
        self.unnominate(&pod.key);
        self.nominations.insert(pod.key.clone(), node.clone());
        self.cache.snapshot.nominated.entry(node).or_default().push(pod);
    }

    fn unnominate(&mut self, key: &str) {
        let Some(node) = self.nominations.remove(key) else { return };
        if let Some(pods) = self.cache.snapshot.nominated.get_mut(&node) {
            pods.retain(|p| &*p.key != key);
            if pods.is_empty() {
                self.cache.snapshot.nominated.remove(&node);
            }
        }
    }
}

fn helps(profiles: &BTreeMap<String, Arc<Profile>>, waiting: &Waiting, event: &ClusterEvent) -> bool {
    let name = waiting
        .pod
        .spec()
        .and_then(|s| s.scheduler_name.as_deref())
        .filter(|n| !n.is_empty())
        .unwrap_or("default-scheduler");
    let Some(profile) = profiles.get(name) else { return true };
    let asked = |plugin: &&str| profile.plugin(plugin).is_none_or(|plugin| plugin.hint(&waiting.pod, event));
    waiting.refused_by.is_empty() || waiting.refused_by.iter().any(asked)
}

/// Whether a waiting pod asks for something else than before.
fn is_different(old: &Pod, new: &Pod) -> bool {
    let claims = |pod: &Pod| pod.status.as_ref().and_then(|s| s.resource_claim_statuses.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || claims(old) != claims(new)
}

/// Whether the change of a running pod can make a difference to others: its status alone does not.
fn concerns_others(before: &PodInfo, after: &PodInfo) -> bool {
    before.labels() != after.labels()
        || before.requests != after.requests
        || before.node_name() != after.node_name()
        || before.is_terminating() != after.is_terminating()
}

/// Whether more than the node's heartbeat changed.
fn matters(old: &Node, new: &Node) -> bool {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || allocatable(old) != allocatable(new)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
