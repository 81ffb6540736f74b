//! `kubectl scale` and `kubectl autoscale`.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::select::{self, Selection};
use crate::resource::{Info, PatchKind};

/// Runs `scale`.
pub async fn run(cx: &Context) -> Result<()> {
    cx.flags.require("replicas")?;
    let replicas = cx.flags.int("replicas");
    if replicas < 0 {
        fail!("the --replicas={replicas} flag is required, and COUNT must be greater than or equal to 0");
    }
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    if infos.is_empty() {
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        fail!("no objects passed to scale {}", said.join(", "));
    }

    if infos.len() > 1 && cx.flags.opt("resource-version").is_some() {
        fail!("cannot use --resource-version with multiple resources");
    }
    let current = cx.flags.int("current-replicas");
    for info in infos {
        if dry_run == DryRun::Client {
            reporter.say(&info, &info.object, "scaled");
            continue;
        }
        let mut patch = json!({"spec": {"replicas": replicas}});
        if let Some(version) = cx.flags.opt("resource-version") {
            patch["metadata"] = json!({"resourceVersion": version});
        }
        if current >= 0 {
            let scale = cx.client()?.get(&info.sub_path("scale")).await?;
            if scale["spec"]["replicas"].as_i64().unwrap_or(0) != current {
                fail!("Expected replicas to be {current}, was {}", scale["spec"]["replicas"]);
            }
            patch["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
        }
        info.patch(cx, PatchKind::Merge, &patch, "scale", &write_query(cx, dry_run)?).await?;
        let timeout = cx.flags.duration("timeout");
        if !timeout.is_zero() {
            wait_scaled(cx, &info, replicas, timeout).await?;
        }
        let object = if reporter.format.is_human() { info.object.clone() } else { info.fetch(cx).await? };
        reporter.say(&info, &object, "scaled");
    }
    Error::collect(errors)
}

async fn wait_scaled(cx: &Context, info: &Info, replicas: i64, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let scale = cx.client()?.get(&info.sub_path("scale")).await?;
        if scale["status"]["replicas"].as_i64().unwrap_or(0) == replicas {
            return Ok(());
        }
        if Instant::now() >= deadline {
            fail!("timed out waiting for {:?} to be synced", info.name);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs `autoscale`.
pub async fn autoscale(cx: &Context) -> Result<()> {
    cx.flags.require("max")?;
    let (min, max, cpu) = (cx.flags.int("min"), cx.flags.int("max"), cx.flags.int("cpu-percent"));
    if max < 1 {
        fail!("--max=MAXPODS is required and must be at least 1, max: {max}");
    }
    if max < min {
        fail!("--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}");
    }
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    Error::collect(errors)?;
    for target in infos {
        let name = cx.flags.opt("name").unwrap_or(&target.name).to_owned();
        let resource = cx.resource("horizontalpodautoscalers.v2.autoscaling").await?;
        let mut object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name, "creationTimestamp": null},
            "spec": {"maxReplicas": max, "scaleTargetRef": {"apiVersion": target.resource.api_version(), "kind": target.resource.kind, "name": target.name}},
            "status": {"currentMetrics": null, "desiredReplicas": 0}
        });
        if cx.flags.changed("namespace") {
            object["metadata"]["namespace"] = json!(target.namespace);
        }
        if min > 0 {
            object["spec"]["minReplicas"] = json!(min);
        }
        if cpu >= 0 {
            object["spec"]["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": cpu}}}]);
        }
        let info = Info { resource, namespace: target.namespace.clone(), name, object, source: String::new() };
        let created = if dry_run == DryRun::Client {
            info.object.clone()
        } else {
            info.create(cx, &write_query(cx, dry_run)?).await?
        };
        reporter.say(&info, &created, "autoscaled");
    }
    Ok(())
}
