//! Tables over the plan.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::batch::v1::{CronJob, Job},
    jiff::Timestamp,
};
use kube::ResourceExt;
use serde_json::json;

use super::plan::{self, Plan};

fn now() -> Timestamp {
    "2026-01-01T10:05:30Z".parse().unwrap()
}

fn cron(spec: serde_json::Value, status: serde_json::Value) -> CronJob {
    let mut cron = json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "c", "creationTimestamp": "2026-01-01T10:00:00Z"},
        "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}},
        "status": status
    });
    for (key, value) in spec.as_object().unwrap() {
        cron["spec"][key] = value.clone();
    }
    serde_json::from_value(cron).unwrap()
}

fn job(name: &str, end: Option<&str>) -> Arc<Job> {
    let conditions: Vec<_> = end.iter().map(|how| json!({"type": how, "status": "True"})).collect();
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name},
            "status": {"conditions": conditions, "startTime": "2026-01-01T10:00:00Z", "completionTime": "2026-01-01T10:01:00Z"}
        }))
        .unwrap(),
    )
}

fn reasons(plan: &Plan) -> Vec<&str> {
    plan.events.iter().map(|e| e.reason).collect()
}

#[test]
fn a_due_job_is_made_once() {
    let plan = plan::plan(&cron(json!({}), json!({})), &[], now());
    let made = plan.create.unwrap();
    assert_eq!(made.name_any(), "c-29454365");
    assert_eq!(made.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-01-01T10:05:00Z");
    assert_eq!((made.labels()["a"].as_str(), plan.next.unwrap().to_string().as_str()), ("b", "2026-01-01T10:10:00Z"));
    let status = json!(plan.status);
    assert_eq!(status["lastScheduleTime"], "2026-01-01T10:05:00Z");
    assert!(plan::plan(&cron(json!({}), status), &[], now()).create.is_none());
    // The status was lost: the job of that name says that it was made.
    let plan = plan::plan(&cron(json!({}), json!({})), &[job("c-29454365", None)], now());
    assert!(plan.create.is_none() && plan.status.active.unwrap().len() == 1);
}

#[test]
fn suspended_late_and_wrong_ones_are_not_made() {
    for (spec, reason) in [
        (json!({"suspend": true}), None),
        (json!({"startingDeadlineSeconds": 20}), None),
        (json!({"schedule": "nonsense"}), Some("UnparseableSchedule")),
        (json!({"timeZone": "Mars/Olympus"}), Some("UnparseableSchedule")),
    ] {
        let plan = plan::plan(&cron(spec.clone(), json!({})), &[], now());
        assert!(plan.create.is_none(), "{spec}");
        assert_eq!(reasons(&plan), reason.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn concurrency() {
    let status = json!({"active": [{"name": "old", "uid": "old"}]});
    let jobs = [job("old", None)];
    let run = |policy: &str| plan::plan(&cron(json!({"concurrencyPolicy": policy}), status.clone()), &jobs, now());
    let (allow, forbid, replace) = (run("Allow"), run("Forbid"), run("Replace"));
    assert!(allow.create.is_some() && allow.delete.is_empty());
    assert!(forbid.create.is_none() && reasons(&forbid) == ["JobAlreadyActive"]);
    assert!(forbid.status.last_schedule_time.is_none(), "started when the other ends, if still in time");
    assert!(replace.create.is_some() && replace.delete.len() == 1 && replace.status.active.is_none());
}

#[test]
fn ended_jobs_leave_the_list_and_history_is_short() {
    let status = json!({"active": [{"name": "done", "uid": "done"}, {"name": "lost", "uid": "lost"}], "lastScheduleTime": "2026-01-01T10:05:00Z"});
    let jobs = [job("done", Some("Complete")), job("before", Some("Complete")), job("bad", Some("Failed"))];
    let plan =
        plan::plan(&cron(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1}), status), &jobs, now());
    assert_eq!(reasons(&plan), ["SawCompletedJob", "MissingJob"]);
    assert!(plan.status.active.is_none() && plan.status.last_successful_time.is_some());
    assert_eq!(plan.delete.iter().map(|j| j.name_any()).collect::<Vec<_>>(), ["before"]);
}
