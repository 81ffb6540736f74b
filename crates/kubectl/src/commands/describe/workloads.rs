//! What makes pods: deployments, replica sets, stateful sets, daemon sets, jobs, cron jobs; and autoscalers.

use serde_json::Value;

use super::{Page, controller, pod, selector_shown, selector_text};
use crate::cli::context::Context;
use crate::client::Query;
use crate::duration::rfc1123;
use crate::error::Result;
use crate::output::plain;
use crate::resource::list;

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Pods by phase: `1 Running / 0 Waiting / 0 Succeeded / 0 Failed`.
async fn pods_status(cx: &Context, object: &Value) -> Result<String> {
    let resource = cx.resource("pods").await?;
    let query = Query::default().with_opt("labelSelector", selector_text(&object["spec"]["selector"]));
    let all = list(cx, &resource, object["metadata"]["namespace"].as_str(), &query, 500).await?;
    let mut counts = [0; 4];
    for pod in all["items"].as_array().into_iter().flatten() {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let ours =
            owners.into_iter().flatten().any(|o| o["controller"] == true && o["uid"] == object["metadata"]["uid"]);
        let at = match pod["status"]["phase"].as_str() {
            Some("Running") => 0,
            Some("Pending") => 1,
            Some("Succeeded") => 2,
            Some("Failed") => 3,
            _ => continue,
        };
        counts[at] += i32::from(ours);
    }
    Ok(format!("{} Running / {} Waiting / {} Succeeded / {} Failed", counts[0], counts[1], counts[2], counts[3]))
}

fn conditions(page: &mut Page, object: &Value) {
    if let Some(conditions) = object["status"]["conditions"].as_array().filter(|c| !c.is_empty()) {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tReason");
        page.line(1, "----\t------\t------");
        for c in conditions {
            page.line(1, &format!("{} \t{}\t{}", plain(&c["type"]), plain(&c["status"]), plain(&c["reason"])));
        }
    }
}

pub(super) async fn deployment(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "CreationTimestamp", rfc1123(metadata["creationTimestamp"].as_str().unwrap_or_default()));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            spec["replicas"].as_i64().unwrap_or(1),
            number(&status["updatedReplicas"]),
            number(&status["replicas"]),
            number(&status["availableReplicas"]),
            number(&status["unavailableReplicas"])
        ),
    );
    page.field(0, "StrategyType", plain(&spec["strategy"]["type"]));
    page.field(0, "MinReadySeconds", number(&spec["minReadySeconds"]).to_string());
    if let Some(rolling) = spec["strategy"]["rollingUpdate"].as_object() {
        let part = |key: &str| plain(rolling.get(key).unwrap_or(&Value::Null));
        page.field(
            0,
            "RollingUpdateStrategy",
            format!("{} max unavailable, {} max surge", part("maxUnavailable"), part("maxSurge")),
        );
    }
    pod::template(page, &spec["template"]);
    conditions(page, object);
    let (old, new) = replica_sets(cx, object).await?;
    let said = |sets: &[String]| if sets.is_empty() { "<none>".to_owned() } else { sets.join(", ") };
    if !old.is_empty() || !new.is_empty() {
        page.field(0, "OldReplicaSets", said(&old));
        page.field(0, "NewReplicaSet", said(&new));
    }
    Ok(true)
}

/// The old and the new replica sets of a deployment, as `name (1/1 replicas created)`.
async fn replica_sets(cx: &Context, deployment: &Value) -> Result<(Vec<String>, Vec<String>)> {
    const REVISION: &str = "deployment.kubernetes.io/revision";
    let resource = cx.resource("replicasets.apps").await?;
    let query = Query::default().with_opt("labelSelector", selector_text(&deployment["spec"]["selector"]));
    let all = list(cx, &resource, deployment["metadata"]["namespace"].as_str(), &query, 500).await?;
    let current = &deployment["metadata"]["annotations"][REVISION];
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for set in all["items"].as_array().into_iter().flatten() {
        let owners = set["metadata"]["ownerReferences"].as_array();
        if !owners.into_iter().flatten().any(|o| o["uid"] == deployment["metadata"]["uid"]) {
            continue;
        }
        let text = format!(
            "{} ({}/{} replicas created)",
            plain(&set["metadata"]["name"]),
            number(&set["status"]["replicas"]),
            number(&set["spec"]["replicas"])
        );
        if set["metadata"]["annotations"][REVISION] == *current { new.push(text) } else { old.push(text) }
    }
    Ok((old, new))
}

pub(super) async fn replicaset(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    if let Some(owner) = controller(object) {
        page.field(0, "Controlled By", owner);
    }
    page.field(
        0,
        "Replicas",
        format!("{} current / {} desired", number(&status["replicas"]), number(&spec["replicas"])),
    );
    page.field(0, "Pods Status", pods_status(cx, object).await?);
    pod::template(page, &spec["template"]);
    conditions(page, object);
    Ok(true)
}

pub(super) async fn statefulset(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "CreationTimestamp", rfc1123(metadata["creationTimestamp"].as_str().unwrap_or_default()));
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    page.field(
        0,
        "Replicas",
        format!("{} desired | {} total", spec["replicas"].as_i64().unwrap_or(1), number(&status["replicas"])),
    );
    page.field(0, "Update Strategy", plain(&spec["updateStrategy"]["type"]));
    if let Some(partition) = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64() {
        page.field(1, "Partition", partition.to_string());
    }
    page.field(0, "Pods Status", pods_status(cx, object).await?);
    pod::template(page, &spec["template"]);
    let Some(claims) = spec["volumeClaimTemplates"].as_array().filter(|c| !c.is_empty()) else {
        page.field(0, "Volume Claims", "<none>");
        return Ok(true);
    };
    page.line(0, "Volume Claims:");
    for claim in claims {
        page.field(1, "Name", plain(&claim["metadata"]["name"]));
        page.field(1, "StorageClass", plain(&claim["spec"]["storageClassName"]));
        page.labels(1, "Labels", &claim["metadata"]["labels"]);
        page.annotations(1, &claim["metadata"]["annotations"]);
        page.field(1, "Capacity", plain(&claim["spec"]["resources"]["requests"]["storage"]));
        let modes: Vec<String> = claim["spec"]["accessModes"].as_array().into_iter().flatten().map(plain).collect();
        page.field(1, "Access Modes", format!("[{}]", modes.join(" ")));
    }
    Ok(true)
}

pub(super) async fn daemonset(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.labels(0, "Node-Selector", &spec["template"]["spec"]["nodeSelector"]);
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    for (label, key) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        page.line(0, &format!("{label}: {}", number(&status[key])));
    }
    page.field(0, "Pods Status", pods_status(cx, object).await?);
    pod::template(page, &spec["template"]);
    Ok(true)
}

pub(super) fn job(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    page.field(0, "Selector", selector_shown(&spec["selector"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.annotations(0, &metadata["annotations"]);
    if let Some(owner) = controller(object) {
        page.field(0, "Controlled By", owner);
    }
    page.field_if(0, "Parallelism", &spec["parallelism"]);
    match spec["completions"].as_i64() {
        Some(completions) => page.field(0, "Completions", completions.to_string()),
        None => page.field(0, "Completions", "<unset>"),
    }
    page.field_if(0, "Completion Mode", &spec["completionMode"]);
    page.field_if(0, "Suspend", &spec["suspend"]);
    page.field_if(0, "Backoff Limit", &spec["backoffLimit"]);
    for (label, key) in [("Start Time", "startTime"), ("Completed At", "completionTime")] {
        if let Some(time) = status[key].as_str() {
            page.field(0, label, rfc1123(time));
        }
    }
    if let (Some(start), Some(end)) = (time(&status["startTime"]), time(&status["completionTime"])) {
        page.field(0, "Duration", crate::duration::human(end - start));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64() {
        page.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    page.field(
        0,
        "Pods Statuses",
        format!(
            "{} Active ({} Ready) / {} Succeeded / {} Failed",
            number(&status["active"]),
            number(&status["ready"]),
            number(&status["succeeded"]),
            number(&status["failed"])
        ),
    );
    page.field_if(0, "Completed Indexes", &status["completedIndexes"]);
    pod::template(page, &spec["template"]);
    true
}

fn time(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

pub(super) fn cronjob(page: &mut Page, object: &Value) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    super::head(page, object);
    let unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { plain(value) };
    page.field(0, "Schedule", plain(&spec["schedule"]));
    page.field(0, "Concurrency Policy", plain(&spec["concurrencyPolicy"]));
    page.field(0, "Suspend", super::yes_no(&spec["suspend"]));
    page.field(0, "Successful Job History Limit", unset(&spec["successfulJobsHistoryLimit"]));
    page.field(0, "Failed Job History Limit", unset(&spec["failedJobsHistoryLimit"]));
    match spec["startingDeadlineSeconds"].as_i64() {
        Some(seconds) => page.field(0, "Starting Deadline Seconds", format!("{seconds}s")),
        None => page.field(0, "Starting Deadline Seconds", "<unset>"),
    }
    let template = &spec["jobTemplate"]["spec"];
    page.field(0, "Selector", unset(&template["selector"]));
    page.field(0, "Parallelism", unset(&template["parallelism"]));
    page.field(0, "Completions", unset(&template["completions"]));
    pod::template(page, &template["template"]);
    match status["lastScheduleTime"].as_str() {
        Some(time) => page.field(0, "Last Schedule Time", rfc1123(time)),
        None => page.field(0, "Last Schedule Time", "<unset>"),
    }
    let active: Vec<String> = status["active"].as_array().into_iter().flatten().map(|a| plain(&a["name"])).collect();
    page.field(0, "Active Jobs", if active.is_empty() { "<none>".to_owned() } else { active.join(", ") });
    true
}

pub(super) fn autoscaler(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    super::head(page, object);
    page.field(0, "CreationTimestamp", rfc1123(metadata["creationTimestamp"].as_str().unwrap_or_default()));
    page.field(
        0,
        "Reference",
        format!("{}/{}", plain(&spec["scaleTargetRef"]["kind"]), plain(&spec["scaleTargetRef"]["name"])),
    );
    page.line(0, "Metrics:\t( current / target )");
    for (i, metric) in spec["metrics"].as_array().into_iter().flatten().enumerate() {
        let now = &status["currentMetrics"][i]["resource"]["current"];
        let target = &metric["resource"]["target"];
        if metric["type"] == "Resource" && target["averageUtilization"].is_number() {
            let current = if now["averageUtilization"].is_number() {
                format!("{}% ({})", now["averageUtilization"], plain(&now["averageValue"]))
            } else {
                "<unknown>".to_owned()
            };
            let name = plain(&metric["resource"]["name"]);
            page.line(
                1,
                &format!(
                    "resource {name} on pods  (as a percentage of request):\t{current} / {}%",
                    target["averageUtilization"]
                ),
            );
        } else {
            page.line(1, &format!("{}:\t<see -o yaml>", plain(&metric["type"])));
        }
    }
    page.field(0, "Min replicas", spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |n| n.to_string()));
    page.field(0, "Max replicas", plain(&spec["maxReplicas"]));
    page.field(
        0,
        format!("{} pods", plain(&spec["scaleTargetRef"]["kind"])).as_str(),
        format!("{} current / {} desired", number(&status["currentReplicas"]), number(&status["desiredReplicas"])),
    );
    if let Some(list) = status["conditions"].as_array().filter(|c| !c.is_empty()) {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tReason\tMessage");
        page.line(1, "----\t------\t------\t-------");
        for c in list {
            page.line(
                1,
                &format!(
                    "{}\t{}\t{}\t{}",
                    plain(&c["type"]),
                    plain(&c["status"]),
                    plain(&c["reason"]),
                    plain(&c["message"])
                ),
            );
        }
    }
    true
}
