//! `kubectl rollout status`: follows a rollout until it is done.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::targets;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::resource::Info;
use crate::{fail, out};

/// How often the object is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Runs the command.
pub async fn status(cx: &Context) -> Result<()> {
    let timeout = cx.flags.duration("timeout");
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    for info in targets(cx).await? {
        follow(cx, &info, deadline).await?;
    }
    Ok(())
}

async fn follow(cx: &Context, info: &Info, deadline: Option<Instant>) -> Result<()> {
    let mut last = String::new();
    loop {
        let object = info.fetch(cx).await?;
        let revision = cx.flags.int("revision");
        let (message, done) = judge(&info.resource.kind, &object, revision).map_err(Error::Plain)?;
        if message != last {
            out(&message);
            last = message;
        }
        if done || !cx.flags.bool("watch") {
            return Ok(());
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            fail!("timed out waiting for the condition");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// What is to be said of a rollout, and whether it is done.
fn judge(kind: &str, object: &Value, revision: i64) -> std::result::Result<(String, bool), String> {
    match kind {
        "Deployment" => deployment(object, revision),
        "DaemonSet" => daemonset(object),
        "StatefulSet" => statefulset(object),
        _ => Err(format!("no status viewer has been implemented for {kind}")),
    }
}

fn observed(object: &Value) -> bool {
    number(&object["metadata"]["generation"]) <= number(&object["status"]["observedGeneration"])
}

fn deployment(object: &Value, revision: i64) -> std::result::Result<(String, bool), String> {
    let (name, status) = (object["metadata"]["name"].as_str().unwrap_or_default(), &object["status"]);
    if revision > 0 {
        let current = object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or("0");
        if current != revision.to_string() {
            return Err(format!("desired revision ({revision}) is different from the running revision ({current})"));
        }
    }
    if !observed(object) {
        return Ok(("Waiting for deployment spec update to be observed...\n".to_owned(), false));
    }
    let progressing = status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Progressing");
    if progressing.is_some_and(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return Err(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let (total, updated, available) =
        (number(&status["replicas"]), number(&status["updatedReplicas"]), number(&status["availableReplicas"]));
    let waiting = |what: String| Ok((format!("Waiting for deployment {name:?} rollout to finish: {what}\n"), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new replicas have been updated..."));
    }
    if total > updated {
        return waiting(format!("{} old replicas are pending termination...", total - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available..."));
    }
    Ok((format!("deployment {name:?} successfully rolled out\n"), true))
}

fn daemonset(object: &Value) -> std::result::Result<(String, bool), String> {
    let (name, status) = (object["metadata"]["name"].as_str().unwrap_or_default(), &object["status"]);
    if object["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
        return Err("rollout status is only available for RollingUpdate strategy type".to_owned());
    }
    if !observed(object) {
        return Ok(("Waiting for daemon set spec update to be observed...\n".to_owned(), false));
    }
    let (wanted, updated, available) = (
        number(&status["desiredNumberScheduled"]),
        number(&status["updatedNumberScheduled"]),
        number(&status["numberAvailable"]),
    );
    let waiting = |what: String| Ok((format!("Waiting for daemon set {name:?} rollout to finish: {what}\n"), false));
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new pods have been updated..."));
    }
    if available < wanted {
        return waiting(format!("{available} of {wanted} updated pods are available..."));
    }
    Ok((format!("daemon set {name:?} successfully rolled out\n"), true))
}

fn statefulset(object: &Value) -> std::result::Result<(String, bool), String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    if spec["updateStrategy"]["type"] != "RollingUpdate" {
        return Err("rollout status is only available for RollingUpdate strategy type".to_owned());
    }
    if number(&status["observedGeneration"]) == 0 || !observed(object) {
        return Ok(("Waiting for statefulset spec update to be observed...\n".to_owned(), false));
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let (ready, updated) = (number(&status["readyReplicas"]), number(&status["updatedReplicas"]));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...\n", wanted - ready), false));
    }
    let partition = number(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
    if partition > 0 {
        if updated < wanted - partition {
            let message = format!(
                "Waiting for partitioned roll out to finish: {updated} out of {} new pods have been updated...\n",
                wanted - partition
            );
            return Ok((message, false));
        }
        return Ok((format!("partitioned roll out complete: {updated} new pods have been updated...\n"), true));
    }
    if status["updateRevision"] != status["currentRevision"] {
        let message = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {}...\n",
            status["updateRevision"].as_str().unwrap_or_default()
        );
        return Ok((message, false));
    }
    let message = format!(
        "statefulset rolling update complete {} pods at revision {}...\n",
        number(&status["currentReplicas"]),
        status["currentRevision"].as_str().unwrap_or_default()
    );
    Ok((message, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rollouts_are_judged() {
        let deployment = |status: Value| json!({"metadata": {"name": "w", "generation": 2}, "spec": {"replicas": 3}, "status": status});
        for (status, said, done) in [
            (json!({"observedGeneration": 1}), "Waiting for deployment spec update to be observed...\n", false),
            (
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 1}),
                "Waiting for deployment \"w\" rollout to finish: 1 out of 3 new replicas have been updated...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3}),
                "Waiting for deployment \"w\" rollout to finish: 1 old replicas are pending termination...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}),
                "Waiting for deployment \"w\" rollout to finish: 2 of 3 updated replicas are available...\n",
                false,
            ),
            (
                json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}),
                "deployment \"w\" successfully rolled out\n",
                true,
            ),
        ] {
            assert_eq!(judge("Deployment", &deployment(status), 0), Ok((said.to_owned(), done)));
        }
        let late = deployment(
            json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
        );
        assert_eq!(judge("Deployment", &late, 0), Err("deployment \"w\" exceeded its progress deadline".to_owned()));
    }
}
