//! StatefulSets run in a simulated cluster, step by step.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec},
    },
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::json;

use super::{
    identity,
    plan::{self, Plan, Revisions},
    retention,
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

/// A claim of `db-1` with owners, each as "kind name uid controller".
fn owned_claim(owners: &[&str]) -> PersistentVolumeClaim {
    let owner = |text: &&str| {
        let [kind, name, uid, controller] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let version = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller == "true"})
    };
    let owners: Vec<_> = owners.iter().map(owner).collect();
    serde_json::from_value(json!({"metadata": {"name": "data-db-1", "ownerReferences": owners}})).unwrap()
}

/// What is to be done: the owners that the claim of `db-1` (uid `pod`) shall have, or that another controller is in the way.
fn verdict(deleted: &str, scaled: &str, replicas: i32, owners: &[&str]) -> String {
    let policy = json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}});
    let world = World::new(replicas, policy);
    let mut pod = identity::pod(&world.set, &PodTemplateSpec::default(), 1, "r1");
    pod.metadata.uid = Some("pod".into());
    let verdict = retention::judge(&world.set, 1, Some(&pod), &owned_claim(owners));
    let owners = verdict.owners.map(|all| all.iter().map(|r| r.uid.clone()).collect::<Vec<_>>().join(","));
    let owners = owners.map_or("keep".to_owned(), |owners| format!("[{owners}]"));
    if verdict.conflict { format!("{owners} conflict") } else { owners }
}

#[test]
fn claims_belong_to_whom_the_policy_says() {
    let (set, pod) = ("StatefulSet db db true", "Pod db-1 pod true");
    for (deleted, scaled, wanted, condemned) in [
        ("Retain", "Retain", "", ""),
        ("Delete", "Retain", "db", "db"),
        ("Retain", "Delete", "", "pod"),
        ("Delete", "Delete", "db", "pod"),
    ] {
        for (replicas, owner) in [(2, wanted), (1, condemned)] {
            for (have, uid) in [(&[][..], ""), (&[set][..], "db"), (&[pod][..], "pod")] {
                let want = if uid == owner { "keep".to_owned() } else { format!("[{owner}]") };
                assert_eq!(verdict(deleted, scaled, replicas, have), want, "{deleted} {scaled} {replicas} {have:?}");
            }
        }
    }
}

#[test]
fn owners_that_are_not_of_the_set_stay() {
    for (owners, want) in [
        // An owner that controls nothing stays; our own that does not control is made to.
        (&["Job other other false"][..], "[other,db]"),
        (&["StatefulSet db db false"], "[db]"),
        (&["StatefulSet db db true", "Pod db-1 pod true"], "[db]"),
        // Another controller: the policy is off, and what we had added goes.
        (&["Job other other true"], "keep conflict"),
        (&["Job other other true", "StatefulSet db db true"], "[other] conflict"),
        // What a former set or pod of this name owns is not touched.
        (&["StatefulSet db former true"], "keep conflict"),
        (&["Pod db-1 former true"], "keep conflict"),
    ] {
        assert_eq!(verdict("Delete", "Delete", 2, owners), want, "{owners:?}");
    }
    assert_eq!(verdict("Retain", "Retain", 2, &["Job other other true"]), "keep");
}

#[test]
fn a_pod_waits_for_the_removal_of_its_predecessors_claim() {
    let waits = |scaled: &str, owner: &str| {
        let set = World::new(2, json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": scaled}})).set;
        retention::awaits_removal(&set, 1, &owned_claim(&[owner]))
    };
    assert!(waits("Delete", "Pod db-1 former true"));
    assert!(!waits("Retain", "Pod db-1 former true"));
    assert!(!waits("Delete", "StatefulSet db db true"));
}
