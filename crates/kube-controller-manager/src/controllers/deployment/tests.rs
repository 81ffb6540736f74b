//! Tables over the plan, and whole roll-outs simulated step by step.

use api_types::k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus},
    apimachinery::pkg::{apis::meta::v1::Time, util::intstr::IntOrString},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use serde_json::json;

use super::plan::{self, replicas};

fn start() -> Timestamp {
    "2026-01-01T10:00:00Z".parse().unwrap()
}

fn deployment(replicas: i32, image: &str, strategy: serde_json::Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1, "annotations": {"note": "x"}},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1, "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
        }
    }))
    .unwrap()
}

fn rolling(surge: i32, unavailable: i32) -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A cluster of one deployment whose pods become available at once (or never).
struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    healthy: bool,
    events: Vec<String>,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: vec![], now: start(), healthy: true, events: vec![] }
    }

    /// Applies one plan; false when it had nothing to do.
    fn step(&mut self) -> bool {
        self.now += SignedDuration::from_secs(1);
        let plan = plan::plan(&self.deployment, &self.sets, |_| false, self.now);
        let before = (self.sets.clone(), self.deployment.clone());
        for mut set in plan.create.into_iter() {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(Time(self.now));
            self.sets.push(set);
        }
        for update in plan.update {
            let slot = self.sets.iter_mut().find(|s| s.metadata.uid == update.metadata.uid).unwrap();
            *slot = update;
        }
        self.sets.retain(|set| !plan.delete.iter().any(|d| d.metadata.uid == set.metadata.uid));
        self.events.extend(plan.events);
        if let Some(revision) = plan.revision {
            self.deployment.annotations_mut().insert(plan::REVISION.into(), revision);
        }
        self.deployment.status = Some(plan.status);
        let total: i32 = self.sets.iter().map(replicas).sum();
        let surge = self.deployment.spec.as_ref().unwrap().replicas.unwrap() + 1;
        assert!(total <= surge.max(2), "{total} pods");
        self.run_pods();
        before != (self.sets.clone(), self.deployment.clone())
    }

    fn run_pods(&mut self) {
        for set in &mut self.sets {
            let n = replicas(set);
            let old = set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or_default();
            let available = if self.healthy { n } else { old.min(n) };
            set.status = Some(ReplicaSetStatus {
                replicas: n,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                ..Default::default()
            });
        }
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            if !self.step() {
                return;
            }
        }
        panic!("does not settle: {:?}", self.deployment.status);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(replicas).collect()
    }

    fn condition(&self, type_: &str) -> Option<(String, String)> {
        let conditions = self.deployment.status.as_ref()?.conditions.as_ref()?;
        let c = conditions.iter().find(|c| c.type_ == type_)?;
        Some((c.status.clone(), c.reason.clone().unwrap_or_default()))
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.deployment.spec.as_mut().unwrap();
        spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }
}

#[test]
fn first_rollout_creates_one_set() {
    let mut world = World::new(deployment(3, "a", rolling(1, 0)));
    world.settle();
    assert_eq!(world.sizes(), [3]);
    let set = &world.sets[0];
    let hash = set.labels()["pod-template-hash"].clone();
    assert_eq!(set.name_any(), format!("web-{hash}"));
    let selector = set.spec.as_ref().unwrap().selector.match_labels.clone().unwrap();
    assert_eq!((selector["pod-template-hash"].as_str(), selector["app"].as_str()), (hash.as_str(), "web"));
    assert_eq!((set.annotations()["note"].as_str(), set.annotations()[plan::REVISION].as_str()), ("x", "1"));
    assert_eq!(world.deployment.annotations()[plan::REVISION], "1");
    assert_eq!(world.events, [format!("Scaled up replica set web-{hash} from 0 to 3")]);
    assert_eq!(world.condition("Available"), Some(("True".into(), "MinimumReplicasAvailable".into())));
    assert_eq!(world.condition("Progressing"), Some(("True".into(), "NewReplicaSetAvailable".into())));
}

#[test]
fn rolling_update_keeps_its_bounds_and_its_history() {
    let mut world = World::new(deployment(3, "a", rolling(1, 0)));
    world.settle();
    for (image, revision) in [("b", "2"), ("c", "3")] {
        world.set_image(image);
        let serving = |world: &World| world.sets.iter().map(plan::available).sum::<i32>();
        for _ in 0..50 {
            world.step();
            assert!(serving(&world) >= 3, "{:?}", world.sizes());
        }
        assert_eq!(world.deployment.annotations()[plan::REVISION], revision);
    }
    assert_eq!(world.sizes(), [0, 3], "one old set is kept");
    // Back to "b": its set is used again under a new revision.
    world.set_image("b");
    world.settle();
    assert_eq!(world.sizes(), [3, 0]);
    assert_eq!(world.deployment.annotations()[plan::REVISION], "4");
    assert_eq!(world.sets[0].annotations()[plan::REVISION_HISTORY], "2");
}

#[test]
fn a_broken_rollout_stops_and_times_out() {
    let mut world = World::new(deployment(4, "a", rolling(1, 1)));
    world.settle();
    world.healthy = false;
    world.set_image("broken");
    world.settle();
    assert_eq!(world.sizes(), [3, 2], "one less serving, one more in all");
    assert_eq!(world.condition("Progressing").unwrap().1, "ReplicaSetUpdated");
    world.now += SignedDuration::from_secs(601);
    world.settle();
    assert_eq!(world.condition("Progressing"), Some(("False".into(), "ProgressDeadlineExceeded".into())));
    assert_eq!(world.condition("Available").unwrap().0, "True");
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut world = World::new(deployment(2, "a", json!({"type": "Recreate"})));
    world.settle();
    world.set_image("b");
    world.step();
    assert_eq!(world.sizes(), [0]);
    let plan = plan::plan(&world.deployment, &world.sets, |_| true, world.now);
    assert!(plan.create.is_none(), "old pods still run");
    world.settle();
    assert_eq!(world.sizes(), [0, 2]);
}

#[test]
fn scaling_in_the_middle_is_proportional() {
    let mut world = World::new(deployment(10, "a", rolling(3, 2)));
    world.settle();
    world.healthy = false;
    world.set_image("b");
    let spec = world.deployment.spec.clone().unwrap();
    for _ in 0..3 {
        let plan = plan::plan(&world.deployment, &world.sets, |_| false, world.now);
        for mut set in plan.create.into_iter() {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(Time(world.now));
            world.sets.push(set);
        }
        for update in plan.update {
            let slot = world.sets.iter_mut().find(|s| s.metadata.uid == update.metadata.uid).unwrap();
            *slot = update;
        }
        world.run_pods();
    }
    assert_eq!(world.sizes(), [8, 5]);
    world.deployment.spec = Some(api_types::k8s_openapi::api::apps::v1::DeploymentSpec { replicas: Some(20), ..spec });
    let plan = plan::plan(&world.deployment, &world.sets, |_| false, world.now);
    let mut sizes: Vec<_> = plan.update.iter().map(replicas).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [9, 14], "23 = 20 + surge, shared 8:5");
}

#[test]
fn pausing_stops_rolling_but_not_scaling() {
    let mut world = World::new(deployment(2, "a", rolling(1, 0)));
    world.settle();
    world.set_image("b");
    let spec = world.deployment.spec.as_mut().unwrap();
    (spec.paused, spec.replicas) = (Some(true), Some(5));
    world.settle();
    assert_eq!(world.sizes(), [5]);
    assert_eq!(world.condition("Progressing").unwrap().1, "DeploymentPaused");
    world.deployment.spec.as_mut().unwrap().paused = None;
    world.settle();
    assert_eq!(world.sizes(), [0, 5]);
}

#[test]
fn numbers_and_percentages() {
    for (value, total, up, want) in
        [("25%", 10, true, 3), ("25%", 10, false, 2), ("0%", 3, true, 0), ("100%", 3, false, 3)]
    {
        assert_eq!(plan::resolve(&IntOrString::String(value.into()), total, up), want, "{value} of {total}");
    }
    assert_eq!(plan::resolve(&IntOrString::Int(4), 1, true), 4);
}
