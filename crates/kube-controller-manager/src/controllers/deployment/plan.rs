//! One step of a roll-out, decided. Pure: the plan gets the deployment, its ReplicaSets and the time, and returns what to write.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec},
    api::core::v1::PodTemplateSpec,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    apimachinery::pkg::util::intstr::IntOrString,
    jiff::Timestamp,
};
use controller_runtime::owner;
use kube::ResourceExt;

use super::{rolling, status};
use crate::hash;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ROLLBACK: &str = "deprecated.deployment.rollback.to";
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// What to write, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// A ReplicaSet for the current template.
    pub(super) create: Option<ReplicaSet>,
    /// Changed ReplicaSets.
    pub(super) update: Vec<ReplicaSet>,
    /// Old ReplicaSets beyond the history limit.
    pub(super) delete: Vec<ReplicaSet>,
    /// Scalings, as events tell them.
    pub(super) events: Vec<String>,
    /// The deployment's new revision annotation.
    pub(super) revision: Option<String>,
    /// The new status.
    pub(super) status: DeploymentStatus,
    /// When the progress deadline has to be checked, in seconds.
    pub(super) check_after: Option<i64>,
}

/// The deployment and working copies of its ReplicaSets.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) spec: &'a DeploymentSpec,
    /// By age.
    pub(super) sets: Vec<ReplicaSet>,
    /// Index of the one with the current template.
    pub(super) new: Option<usize>,
    /// Whether `new` has to be created.
    pub(super) create: bool,
    pub(super) events: Vec<String>,
    pub(super) now: Timestamp,
}

/// Decides the next step. `pods` tells whether pods that did not finish exist for a ReplicaSet (by uid).
pub(super) fn plan(deployment: &Deployment, sets: &[ReplicaSet], pods: impl Fn(&str) -> bool, now: Timestamp) -> Plan {
    let default = DeploymentSpec::default();
    let spec = deployment.spec.as_ref().unwrap_or(&default);
    let mut sorted = sets.to_vec();
    sorted.sort_by_key(age);
    let new = sorted.iter().position(|set| same_template(set, &spec.template));
    let mut rollout = Rollout { deployment, spec, sets: sorted, new, create: false, events: Vec::new(), now };
    if deployment.metadata.deletion_timestamp.is_some() {
        return rollout.finish(sets, false);
    }
    let paused = spec.paused == Some(true);
    if paused || rollout.is_scaling() {
        rollout.sync_revision();
        rolling::scale(&mut rollout);
        return rollout.finish(sets, paused);
    }
    if strategy(spec) == "Recreate" {
        recreate(&mut rollout, pods);
    } else {
        rolling::roll(&mut rollout);
    }
    rollout.finish(sets, true)
}

fn recreate(rollout: &mut Rollout<'_>, pods: impl Fn(&str) -> bool) {
    if rollout.new.is_some() {
        rollout.sync_revision();
    }
    let mut scaled = false;
    for index in rollout.old() {
        scaled |= replicas(&rollout.sets[index]) > 0;
        rollout.scale_to(index, 0);
    }
    let running = rollout.old().iter().any(|i| rollout.sets[*i].uid().is_some_and(|uid| pods(&uid)));
    if scaled || running {
        return;
    }
    let new = rollout.ensure_new();
    rollout.scale_to(new, rollout.desired());
}

impl Rollout<'_> {
    pub(super) fn desired(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    /// Pods beyond the wanted number that a roll-out may start.
    pub(super) fn max_surge(&self) -> i32 {
        let (surge, _) = bounds(self.spec);
        surge
    }

    /// Pods below the wanted number that a roll-out may miss.
    pub(super) fn max_unavailable(&self) -> i32 {
        let (_, unavailable) = bounds(self.spec);
        unavailable.min(self.desired())
    }

    pub(super) fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|i| Some(*i) != self.new).collect()
    }

    pub(super) fn total(&self) -> i32 {
        self.sets.iter().map(replicas).sum()
    }

    /// Whether the wanted number changed since the ReplicaSets were last scaled.
    fn is_scaling(&self) -> bool {
        let desired = self.desired().to_string();
        let active = self.sets.iter().filter(|set| replicas(set) > 0);
        active.filter_map(|set| set.annotations().get(DESIRED)).any(|known| *known != desired)
    }

    /// Scales a working copy; its annotations say for which wanted number.
    pub(super) fn scale_to(&mut self, index: usize, to: i32) {
        let (desired, max) = (self.desired(), self.desired() + self.max_surge());
        let set = &mut self.sets[index];
        let from = replicas(set);
        if to != from {
            let direction = if to > from { "up" } else { "down" };
            self.events.push(format!("Scaled {direction} replica set {} from {from} to {to}", set.name_any()));
            set.spec.get_or_insert_default().replicas = Some(to);
        } else if replicas(set) == 0 {
            return;
        }
        let annotations = set.annotations_mut();
        annotations.insert(DESIRED.to_owned(), desired.to_string());
        annotations.insert(MAX.to_owned(), max.to_string());
    }

    /// The index of the ReplicaSet with the current template, which is made if need be.
    pub(super) fn ensure_new(&mut self) -> usize {
        if let Some(index) = self.new {
            self.sync_revision();
            return index;
        }
        let mut set = new_set(self.deployment, self.spec);
        let revision = self.next_revision(None).to_string();
        let count = match strategy(self.spec) {
            "Recreate" => self.desired(),
            _ => rolling::new_replicas(self, 0),
        };
        let max = self.desired() + self.max_surge();
        let annotations = set.annotations_mut();
        annotations.insert(REVISION.to_owned(), revision);
        annotations.insert(DESIRED.to_owned(), self.desired().to_string());
        annotations.insert(MAX.to_owned(), max.to_string());
        set.spec.get_or_insert_default().replicas = Some(count);
        if count > 0 {
            self.events.push(format!("Scaled up replica set {} from 0 to {count}", set.name_any()));
        }
        self.sets.push(set);
        self.create = true;
        let index = self.sets.len() - 1;
        self.new = Some(index);
        index
    }

    /// One more than the newest revision of the other ReplicaSets.
    fn next_revision(&self, except: Option<usize>) -> i64 {
        let others = self.sets.iter().enumerate().filter(|(i, _)| Some(*i) != except);
        others.map(|(_, set)| revision(set)).max().unwrap_or_default() + 1
    }

    /// Keeps the annotations and the minimum ready time of the current ReplicaSet in step with the deployment.
    fn sync_revision(&mut self) {
        let Some(index) = self.new else { return };
        let wanted = self.next_revision(Some(index));
        let copied = copied_annotations(self.deployment);
        let min_ready = self.spec.min_ready_seconds;
        let set = &mut self.sets[index];
        let known = revision(set);
        let annotations = set.annotations_mut();
        annotations.extend(copied);
        if known < wanted
            && let Some(old) = annotations.insert(REVISION.to_owned(), wanted.to_string())
        {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            let separator = if history.is_empty() { "" } else { "," };
            *history = format!("{history}{separator}{old}");
        }
        set.spec.get_or_insert_default().min_ready_seconds = min_ready;
    }

    fn finish(mut self, before: &[ReplicaSet], clean_up: bool) -> Plan {
        let created = if self.create { self.new } else { None };
        let status = status::next(&self, created);
        let delete =
            if clean_up && (self.spec.paused == Some(true) || status::is_complete(self.deployment, &status.status)) {
                self.superfluous()
            } else {
                Vec::new()
            };
        let revision = self.new.map(|index| self.sets[index].annotations().get(REVISION).cloned().unwrap_or_default());
        let revision = revision.filter(|r| !r.is_empty() && self.deployment.annotations().get(REVISION) != Some(r));
        let create = created.map(|index| self.sets.remove(index));
        let changed = |set: &ReplicaSet| before.iter().any(|b| b.metadata.uid == set.metadata.uid && b != set);
        let update = self.sets.into_iter().filter(changed).collect();
        Plan {
            create,
            update,
            delete,
            events: self.events,
            revision,
            status: status.status,
            check_after: status.check_after,
        }
    }

    /// Old ReplicaSets without pods beyond the history limit, oldest revisions first.
    fn superfluous(&self) -> Vec<ReplicaSet> {
        let Some(limit) = self.spec.revision_history_limit else { return Vec::new() };
        let mut old: Vec<_> = self.old().into_iter().map(|i| &self.sets[i]).collect();
        old.retain(|set| set.metadata.deletion_timestamp.is_none());
        old.sort_by_key(|set| revision(set));
        let excess = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let idle = |set: &&&ReplicaSet| {
            let status = set.status.clone().unwrap_or_default();
            let observed = status.observed_generation >= set.metadata.generation;
            replicas(set) == 0 && status.replicas == 0 && observed
        };
        old.iter().take(excess).filter(idle).map(|set| (*set).clone()).collect()
    }
}

/// A ReplicaSet for the deployment's template, without replicas.
fn new_set(deployment: &Deployment, spec: &DeploymentSpec) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
    let hash = hash::template_hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let meta = template.metadata.get_or_insert_default();
    meta.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels,
            annotations: Some(copied_annotations(deployment)),
            owner_references: Some(vec![owner::controller_ref(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// The deployment's annotations that its ReplicaSets get too.
fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let own = [REVISION, REVISION_HISTORY, DESIRED, MAX, LAST_APPLIED, ROLLBACK];
    let copied = deployment.annotations().iter().filter(|(key, _)| !own.contains(&key.as_str()));
    copied.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Whether a ReplicaSet has this template, but for the hash label.
pub(super) fn same_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(own) = set.spec.as_ref().and_then(|s| s.template.as_ref()) else { return false };
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        let meta = template.metadata.get_or_insert_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        template
    };
    bare(own) == bare(template)
}

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default()
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default()
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|r| r.parse().ok()).unwrap_or_default()
}

/// Age, then name: equal for no two ReplicaSets of a namespace.
pub(super) fn age(set: &ReplicaSet) -> (Option<Timestamp>, String) {
    (set.creation_timestamp().map(|t| t.0), set.name_any())
}

pub(super) fn strategy(spec: &DeploymentSpec) -> &str {
    spec.strategy.as_ref().and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate")
}

/// Surge and unavailability in pods. Both zero would stop every roll-out, so one may be missing then.
fn bounds(spec: &DeploymentSpec) -> (i32, i32) {
    if strategy(spec) != "RollingUpdate" {
        return (0, 0);
    }
    let rolling = spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let default = IntOrString::String("25%".to_owned());
    let replicas = spec.replicas.unwrap_or(1);
    let surge = resolve(rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&default), replicas, true);
    let unavailable = resolve(rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&default), replicas, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of `total`, rounded up or down.
pub(crate) fn resolve(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let product = percent * i64::from(total);
            let rounded = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}
