//! On which nodes to make pods, and which pods to delete. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::util::intstr::IntOrString,
    jiff::Timestamp,
};
use component_helpers::pods as helpers;
use kube::ResourceExt;

use super::placement::{self, Fit};
use crate::{controllers::deployment::resolve, history};

/// No more pods than this are created or deleted in one reconcile.
const BURST: usize = 250;

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names of nodes.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Finished pods to be replaced, which are deleted with a back-off per node.
    pub(super) finished: Vec<Arc<Pod>>,
}

/// The set, its pods by node, and what it wants.
pub(super) struct View<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) by_node: BTreeMap<String, Vec<Arc<Pod>>>,
    /// The hash of the newest revision.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn new(
        set: &'a DaemonSet,
        nodes: &'a [Arc<Node>],
        pods: &[Arc<Pod>],
        hash: &'a str,
        now: Timestamp,
    ) -> Self {
        let mut by_node = BTreeMap::<String, Vec<_>>::new();
        for pod in pods {
            by_node.entry(placement::target(pod).unwrap_or_default()).or_default().push(pod.clone());
        }
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| (pod.creation_timestamp().map(|t| t.0), pod.name_any()));
        }
        Self { set, nodes, by_node, hash, now }
    }

    pub(super) fn pods_on(&self, node: &Node) -> &[Arc<Pod>] {
        self.by_node.get(&node.name_any()).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn is_new(&self, pod: &Pod) -> bool {
        pod.labels().get(history::HASH_LABEL).is_some_and(|hash| hash == self.hash)
    }

    pub(super) fn min_ready_seconds(&self) -> i32 {
        self.set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or_default()
    }

    pub(super) fn is_available(&self, pod: &Pod) -> bool {
        helpers::is_available(pod, self.min_ready_seconds(), self.now)
    }

    fn rolling(&self) -> Option<(i32, i32)> {
        let strategy = self.set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
        if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") {
            return None;
        }
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let desired = self.nodes.iter().filter(|node| placement::fit(self.set, node).run).count();
        let desired = i32::try_from(desired).unwrap_or(i32::MAX);
        let number =
            |value: Option<&IntOrString>, default| value.map_or(default, |value| resolve(value, desired, true));
        let surge = number(rolling.and_then(|r| r.max_surge.as_ref()), 0);
        let unavailable = number(rolling.and_then(|r| r.max_unavailable.as_ref()), 1);
        // Both zero would never move.
        Some((surge, if surge == 0 { unavailable.max(1) } else { unavailable }))
    }
}

/// Brings each node to its pod, then, when all have theirs, moves on to the newest revision.
pub(super) fn plan(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let surging = view.rolling().is_some_and(|(surge, _)| surge > 0);
    for node in view.nodes {
        manage(view, node, surging, &mut plan);
    }
    let known: BTreeSet<_> = view.nodes.iter().map(|node| node.name_any()).collect();
    for (node, pods) in &view.by_node {
        // Pods made for nodes that do not exist (any more) and never bound; bound ones are the pod collector's.
        if !known.contains(node) {
            plan.delete.extend(pods.iter().filter(|pod| helpers::node_name(pod).is_none() && is_staying(pod)).cloned());
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() && plan.finished.is_empty() {
        roll(view, &mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

fn is_staying(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

fn manage(view: &View<'_>, node: &Node, surging: bool, plan: &mut Plan) {
    let pods = view.pods_on(node);
    let Fit { run, stay } = placement::fit(view.set, node);
    if !stay {
        plan.delete.extend(pods.iter().filter(|pod| is_staying(pod)).cloned());
        return;
    }
    if pods.is_empty() {
        if run {
            plan.create.push(node.name_any());
        }
        return;
    }
    let (finished, running): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| is_staying(pod)).cloned().partition(|pod| helpers::is_terminal(pod));
    plan.finished.extend(finished);
    if running.len() <= 1 {
        return;
    }
    let keep = if surging { surplus_free(view, &running) } else { vec![running[0].uid()] };
    plan.delete.extend(running.into_iter().filter(|pod| !keep.contains(&pod.uid())));
}

/// While surging, one old and one new pod may be on a node, until the new one is available.
fn surplus_free(view: &View<'_>, running: &[Arc<Pod>]) -> Vec<Option<String>> {
    let new = running.iter().find(|pod| view.is_new(pod));
    let old = running.iter().find(|pod| !view.is_new(pod));
    let old = old.filter(|_| !new.is_some_and(|pod| view.is_available(pod)));
    new.into_iter().chain(old).map(|pod| pod.uid()).collect()
}

fn roll(view: &View<'_>, plan: &mut Plan) {
    match view.rolling() {
        None => {}
        Some((0, unavailable)) => replace(view, unavailable, plan),
        Some((surge, _)) => surge_on(view, surge, plan),
    }
}

/// The old and the new pod of a node.
fn pair<'a>(view: &'a View<'_>, node: &Node) -> (Option<&'a Arc<Pod>>, Option<&'a Arc<Pod>>) {
    let pods = view.pods_on(node);
    (pods.iter().find(|pod| !view.is_new(pod)), pods.iter().find(|pod| view.is_new(pod)))
}

/// Deletes old pods as far as the unavailable ones allow; the next reconcile makes the new ones.
fn replace(view: &View<'_>, max_unavailable: i32, plan: &mut Plan) {
    let (mut unavailable, mut candidates) = (0, Vec::new());
    for node in view.nodes.iter().filter(|node| placement::fit(view.set, node).run) {
        match pair(view, node) {
            (None, Some(new)) if view.is_available(new) && is_staying(new) => {}
            (Some(old), None) if is_staying(old) => {
                // One that does not serve is replaced at no cost.
                if view.is_available(old) {
                    candidates.push(old.clone());
                } else {
                    unavailable += 1;
                    plan.delete.push(old.clone());
                }
            }
            _ => unavailable += 1,
        }
    }
    let room = usize::try_from(max_unavailable - unavailable).unwrap_or_default();
    plan.delete.extend(candidates.into_iter().take(room));
}

/// Starts new pods beside old ones, and deletes the old where the new is available.
fn surge_on(view: &View<'_>, max_surge: i32, plan: &mut Plan) {
    let (mut surging, mut free, mut candidates) = (0, Vec::new(), Vec::new());
    for node in view.nodes.iter().filter(|node| placement::fit(view.set, node).run) {
        match pair(view, node) {
            (Some(old), None) if is_staying(old) => {
                let list = if view.is_available(old) { &mut candidates } else { &mut free };
                list.push(node.name_any());
            }
            (Some(_), Some(_)) => surging += 1,
            _ => {}
        }
    }
    let room = usize::try_from(max_surge - surging).unwrap_or_default();
    plan.create.extend(free);
    plan.create.extend(candidates.into_iter().take(room));
}
