//! StatefulSets run in a simulated cluster, step by step.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Pod, PodTemplateSpec},
    },
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::json;

use super::{
    identity,
    plan::{self, Plan, Revisions},
};

struct World {
    set: StatefulSet,
    pods: Vec<Pod>,
    update: &'static str,
}

impl World {
    fn new(replicas: i32, spec: serde_json::Value) -> Self {
        let mut set = json!({
            "metadata": {"name": "db", "namespace": "ns", "uid": "db"},
            "spec": {"replicas": replicas, "serviceName": "svc", "selector": {"matchLabels": {"a": "b"}},
                     "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}
        });
        for (key, value) in spec.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        Self { set: serde_json::from_value(set).unwrap(), pods: vec![], update: "r1" }
    }

    fn plan(&self) -> Plan {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let known = self.set.status.as_ref().and_then(|s| s.current_revision.clone());
        let current = known.unwrap_or_else(|| self.update.to_owned());
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        plan::plan(&self.set, &pods, &Revisions { current: &current, update: self.update }, now)
    }

    /// Applies a plan: new pods start unready, deleted ones are gone at once. Says what was done.
    fn step(&mut self) -> String {
        let plan = self.plan();
        let current = plan.status.current_revision.clone().unwrap();
        self.set.status = Some(plan.status);
        let mut told = Vec::new();
        for (ordinal, from_update) in plan.create {
            let revision = if from_update { self.update } else { &current };
            let mut pod = identity::pod(&self.set, &PodTemplateSpec::default(), ordinal, revision);
            pod.metadata.uid = Some(format!("{}@{revision}", pod.name_any()));
            told.push(format!("+{ordinal}@{revision}"));
            self.pods.push(pod);
        }
        for pod in plan.delete {
            told.push(format!("-{}", pod.name_any()));
            self.pods.retain(|p| p.metadata.uid != pod.metadata.uid);
        }
        told.join(" ")
    }

    fn set_ready(&mut self, ready: bool) {
        for pod in &mut self.pods {
            pod.status = Some(
                serde_json::from_value(json!({"phase": "Running", "conditions": [
                    {"type": "Ready", "status": if ready { "True" } else { "False" }}]}))
                .unwrap(),
            );
        }
    }

    /// Steps with everything ready until nothing happens.
    fn roll(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..20 {
            self.set_ready(true);
            let told = self.step();
            if !told.is_empty() {
                all.push(told);
            }
        }
        all
    }
}

#[test]
fn names_are_read_strictly() {
    for (pod, want) in [
        ("db-0", Some(0)),
        ("db-12", Some(12)),
        ("db-01", None),
        ("db-", None),
        ("db-x", None),
        ("other-0", None),
        ("db-+1", None),
    ] {
        assert_eq!(identity::ordinal("db", pod), want, "{pod}");
    }
}

#[test]
fn pods_have_names_and_claims_of_their_own() {
    let world = World::new(
        1,
        json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}),
    );
    let template =
        serde_json::from_value(json!({"spec": {"containers": [], "volumes": [{"name": "data"}, {"name": "tmp"}]}}))
            .unwrap();
    let pod = serde_json::to_value(identity::pod(&world.set, &template, 3, "r1")).unwrap();
    assert_eq!(
        (&pod["metadata"]["name"], &pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("db-3"), &json!("db-3"), &json!("svc"))
    );
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "tmp"}, {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-3"}}])
    );
    assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "3");
    let claim = &identity::claims(&world.set, 3)[0];
    assert_eq!((claim.name_any().as_str(), claim.labels()["a"].as_str()), ("data-db-3", "b"));
}

#[test]
fn ordered_start_waits_for_each() {
    let mut world = World::new(3, json!({}));
    assert_eq!(world.step(), "+0@r1");
    assert_eq!(world.step(), "", "waits for readiness");
    assert_eq!(world.roll(), ["+1@r1", "+2@r1"]);
    let status = world.set.status.clone().unwrap();
    assert_eq!((status.replicas, status.ready_replicas, status.current_replicas), (3, Some(3), Some(3)));
    world.set.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(world.roll(), ["-db-2", "-db-1"]);
}

#[test]
fn parallel_starts_and_stops_at_once_and_ordinals_may_start_later() {
    let mut world = World::new(2, json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}));
    assert_eq!(world.step(), "+5@r1 +6@r1");
    world.set.spec.as_mut().unwrap().replicas = Some(0);
    assert_eq!(world.step(), "-db-6 -db-5");
}

#[test]
fn updates_go_from_the_top_to_the_partition() {
    let mut world =
        World::new(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}));
    world.roll();
    world.update = "r2";
    assert_eq!(world.roll(), ["-db-2", "+2@r2", "-db-1", "+1@r2"]);
    let status = world.set.status.clone().unwrap();
    assert_eq!((status.current_revision.as_deref(), status.updated_replicas), (Some("r1"), Some(2)));
    // Below the partition a lost pod comes back as it was.
    world.pods.retain(|pod| pod.name_any() != "db-0");
    assert_eq!(world.roll(), ["+0@r1"]);
    world.set.spec.as_mut().unwrap().update_strategy = None;
    assert_eq!(world.roll(), ["-db-0", "+0@r2"]);
    assert_eq!(world.set.status.clone().unwrap().current_revision.as_deref(), Some("r2"));
}

#[test]
fn an_update_stops_at_an_unhealthy_pod() {
    let mut world = World::new(2, json!({}));
    world.roll();
    world.update = "r2";
    assert_eq!(world.step(), "-db-1");
    assert_eq!(world.step(), "+1@r2");
    assert_eq!(world.step(), "", "db-1 is not ready");
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    let mut world = World::new(1, on_delete);
    world.roll();
    world.update = "r2";
    assert!(world.roll().is_empty());
}

#[test]
fn several_may_be_unavailable_when_allowed() {
    let mut world = World::new(
        4,
        json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}, "podManagementPolicy": "Parallel"}),
    );
    world.roll();
    world.update = "r2";
    world.set_ready(true);
    assert_eq!(world.step(), "-db-3 -db-2");
}

#[test]
fn ended_pods_are_replaced() {
    let mut world = World::new(1, json!({}));
    world.roll();
    world.pods[0].status = Some(serde_json::from_value(json!({"phase": "Failed"})).unwrap());
    assert_eq!(world.plan().recreated, ["db-0"]);
    assert_eq!(world.step(), "-db-0");
    assert_eq!(world.step(), "+0@r1");
}
