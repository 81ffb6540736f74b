//! Jobs run in a simulated cluster, step by step.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{batch::v1::Job, core::v1::Pod},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;
use serde_json::json;

use super::{indexes, is_tracked, plan};

struct World {
    job: Job,
    pods: Vec<Pod>,
    now: Timestamp,
    made: usize,
    events: Vec<String>,
}

impl World {
    fn new(spec: serde_json::Value) -> Self {
        let mut job = json!({
            "metadata": {"name": "j", "namespace": "ns", "uid": "j"},
            "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6,
                     "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}
        });
        for (key, value) in spec.as_object().unwrap() {
            job["spec"][key] = value.clone();
        }
        let now = "2026-01-01T10:00:00Z".parse().unwrap();
        Self { job: serde_json::from_value(job).unwrap(), pods: vec![], now, made: 0, events: vec![] }
    }

    fn step(&mut self) -> Option<i64> {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let plan = plan::plan(&self.job, &pods, true, self.now);
        self.job.status = Some(plan.status);
        for pod in &mut self.pods {
            if plan.release.iter().any(|r| r.metadata.uid == pod.metadata.uid) {
                pod.metadata.finalizers = None;
            }
        }
        self.pods.retain(|pod| !plan.delete.iter().any(|d| d.metadata.uid == pod.metadata.uid));
        for mut pod in plan.create {
            self.made += 1;
            assert!(is_tracked(&pod));
            pod.metadata.name = Some(format!("p{}", self.made));
            pod.metadata.uid = pod.metadata.name.clone();
            self.pods.push(pod);
        }
        self.events.extend(plan.events.into_iter().map(|e| format!("{}: {}", e.reason, e.message)));
        plan.check_after
    }

    fn settle(&mut self) {
        for _ in 0..5 {
            self.step();
        }
    }

    fn running(&self) -> Vec<String> {
        let alive = self.pods.iter().filter(|pod| component_helpers::pods::is_active(pod));
        alive.map(|pod| pod.name_any()).collect()
    }

    fn end(&mut self, name: &str, phase: &str, code: i32) {
        let pod = self.pods.iter_mut().find(|pod| pod.name_any() == name).unwrap();
        let status = json!({"phase": phase, "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": code, "finishedAt": self.now.to_string()}}}]});
        pod.status = Some(serde_json::from_value(status).unwrap());
    }

    fn conditions(&self) -> Vec<String> {
        let status = self.job.status.as_ref().unwrap();
        let name = |c: &api_types::k8s_openapi::api::batch::v1::JobCondition| {
            format!("{}={} {}", c.type_, c.status, c.reason.as_deref().unwrap_or_default())
        };
        status.conditions.iter().flatten().map(name).collect()
    }

    fn counts(&self) -> (i32, i32, i32) {
        let status = self.job.status.clone().unwrap();
        let n = |value: Option<i32>| value.unwrap_or_default();
        (n(status.active), n(status.succeeded), n(status.failed))
    }
}

#[test]
fn runs_to_completion_and_counts_once() {
    let mut world = World::new(json!({"parallelism": 2, "completions": 3}));
    world.settle();
    assert_eq!((world.running().len(), world.counts()), (2, (2, 0, 0)));
    world.end("p1", "Succeeded", 0);
    world.step();
    let uncounted = world.job.status.clone().unwrap().uncounted_terminated_pods.unwrap();
    assert_eq!(uncounted.succeeded.unwrap(), ["p1"], "written before the finalizer goes");
    world.settle();
    assert_eq!((world.running(), world.counts()), (vec!["p2".to_owned(), "p3".to_owned()], (2, 1, 0)));
    world.end("p2", "Succeeded", 0);
    world.end("p3", "Succeeded", 0);
    world.settle();
    assert_eq!(world.counts(), (0, 3, 0));
    assert_eq!(world.conditions(), ["SuccessCriteriaMet=True CompletionsReached", "Complete=True CompletionsReached"]);
    assert!(world.job.status.as_ref().unwrap().completion_time.is_some());
    assert_eq!(world.events, ["Completed: Job completed"]);
    assert!(world.pods.iter().all(|pod| !is_tracked(pod)));
}

#[test]
fn failures_back_off_and_then_fail_the_job() {
    let mut world = World::new(json!({"backoffLimit": 1}));
    world.settle();
    world.end("p1", "Failed", 1);
    assert_eq!(world.step(), Some(10));
    world.settle();
    assert!(world.running().is_empty(), "waits");
    world.now += SignedDuration::from_secs(10);
    world.settle();
    assert_eq!(world.running(), ["p2"]);
    world.end("p2", "Failed", 1);
    world.settle();
    assert_eq!((world.counts(), world.running().len()), ((0, 0, 2), 0));
    assert_eq!(world.conditions(), ["FailureTarget=True BackoffLimitExceeded", "Failed=True BackoffLimitExceeded"]);
    assert_eq!(world.events, ["BackoffLimitExceeded: Job has reached the specified backoff limit"]);
}

#[test]
fn the_deadline_stops_running_pods() {
    let mut world = World::new(json!({"activeDeadlineSeconds": 30}));
    world.step();
    assert_eq!(world.step(), Some(30));
    world.now += SignedDuration::from_secs(30);
    world.settle();
    assert!(world.running().is_empty());
    assert_eq!(world.conditions()[1], "Failed=True DeadlineExceeded");
}

#[test]
fn suspending_stops_and_resuming_starts_anew() {
    let mut world = World::new(json!({"suspend": true}));
    world.settle();
    assert!(world.running().is_empty() && world.job.status.as_ref().unwrap().start_time.is_none());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.now += SignedDuration::from_secs(5);
    world.settle();
    assert_eq!((world.running().len(), world.conditions()), (1, vec!["Suspended=False JobResumed".to_owned()]));
    world.job.spec.as_mut().unwrap().suspend = Some(true);
    world.settle();
    assert_eq!((world.running().len(), world.counts()), (0, (0, 0, 0)));
    assert_eq!(world.events, ["Suspended: Job suspended", "Resumed: Job resumed", "Suspended: Job suspended"]);
}

#[test]
fn indexes_are_run_each_once() {
    let mut world = World::new(json!({"completionMode": "Indexed", "parallelism": 2, "completions": 3}));
    world.settle();
    let pod = world.pods[1].clone();
    assert_eq!((indexes::of(&pod), pod.spec.as_ref().unwrap().hostname.as_deref()), (Some(1), Some("j-1")));
    assert_eq!(pod.spec.as_ref().unwrap().containers[0].env.as_ref().unwrap()[0].name, "JOB_COMPLETION_INDEX");
    world.end("p2", "Succeeded", 0);
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("1"));
    assert_eq!(world.pods.iter().filter_map(indexes::of).collect::<Vec<_>>(), [0, 1, 2]);
    world.end("p1", "Succeeded", 0);
    world.end("p3", "Succeeded", 0);
    world.settle();
    assert_eq!(world.job.status.as_ref().unwrap().completed_indexes.as_deref(), Some("0-2"));
    assert_eq!(world.conditions()[1], "Complete=True CompletionsReached");
}

#[test]
fn a_backoff_limit_per_index_fails_only_that_index() {
    let mut world = World::new(json!({
        "completionMode": "Indexed", "parallelism": 2, "completions": 2, "backoffLimitPerIndex": 0, "backoffLimit": 100}));
    world.settle();
    world.end("p1", "Failed", 1);
    world.settle();
    assert_eq!((world.running(), world.made), (vec!["p2".to_owned()], 2), "index 0 is not tried again");
    world.end("p2", "Succeeded", 0);
    world.settle();
    let status = world.job.status.clone().unwrap();
    assert_eq!((status.failed_indexes.as_deref(), status.completed_indexes.as_deref()), (Some("0"), Some("1")));
    assert_eq!(world.conditions()[1], "Failed=True FailedIndexes");
}

#[test]
fn the_pod_failure_policy_decides_by_exit_code() {
    let policy = json!({"rules": [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}}]});
    let mut world = World::new(json!({"backoffLimit": 0, "podFailurePolicy": policy}));
    world.settle();
    world.end("p1", "Failed", 7);
    world.settle();
    assert_eq!((world.running(), world.counts()), (vec!["p2".to_owned()], (1, 0, 0)), "ignored: at once anew");
    world.end("p2", "Failed", 42);
    world.settle();
    assert_eq!(world.conditions()[1], "Failed=True PodFailurePolicy");
    assert_eq!(
        world.events,
        ["PodFailurePolicy: Container c for pod ns/p2 failed with exit code 42 matching FailJob rule at index 1"]
    );
}

#[test]
fn the_success_policy_ends_early() {
    let mut world = World::new(json!({
        "completionMode": "Indexed", "parallelism": 3, "completions": 3,
        "successPolicy": {"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]}}));
    world.settle();
    world.end("p2", "Succeeded", 0);
    world.settle();
    assert_eq!(world.running().len(), 2, "index 1 is not in the rule");
    world.end("p3", "Succeeded", 0);
    world.settle();
    assert!(world.running().is_empty());
    assert_eq!(world.conditions(), ["SuccessCriteriaMet=True SuccessPolicy", "Complete=True SuccessPolicy"]);
}

#[test]
fn nothing_is_started_or_stopped_on_an_unsettled_view() {
    let world = World::new(json!({}));
    let plan = plan::plan(&world.job, &[], false, world.now);
    assert!(plan.create.is_empty() && plan.status.active.is_none());
}
