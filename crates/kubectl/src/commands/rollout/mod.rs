//! `kubectl rollout`: status, history, undo, restart, pause, resume.

mod history;
mod status;

pub use history::{history, undo};
pub use status::status;

use serde_json::{Value, json};

use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::resource::select::{self, Selection};
use crate::resource::{Info, PatchKind};

/// The objects that a rollout command works on.
async fn targets(cx: &Context) -> Result<Vec<Info>> {
    if cx.args().is_empty() && !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        return Err(Error::Plain("required resource not specified".to_owned()));
    }
    let (infos, errors) =
        select::objects(cx, cx.args(), Selection { whole_types: true, ..Selection::default() }).await?;
    Error::collect(errors)?;
    if infos.is_empty() {
        eprintln!("No resources found in {} namespace.", cx.namespace()?);
    }
    Ok(infos)
}

fn paused(info: &Info) -> bool {
    info.object["spec"]["paused"].as_bool().unwrap_or(false)
}

/// Patches each object with what `change` makes of it, or fails with its sentence.
async fn each(cx: &Context, done: &str, change: impl Fn(&Info) -> std::result::Result<Value, String>) -> Result<()> {
    let reporter = Reporter::new(cx, DryRun::No)?;
    let mut errors = Vec::new();
    for info in targets(cx).await? {
        let patch = match change(&info) {
            Ok(patch) => patch,
            Err(why) => {
                errors.push(Error::Plain(format!("{} {:?} {why}", info.resource.qualified(), info.name)));
                continue;
            }
        };
        match info.patch(cx, PatchKind::Strategic, &patch, "", &write_query(cx, DryRun::No)?).await {
            Ok(object) => reporter.say(&info, &object, done),
            Err(error) => errors.push(Error::Plain(format!("failed to patch: {error}"))),
        }
    }
    Error::collect(errors)
}

/// Runs `rollout pause`.
pub async fn pause(cx: &Context) -> Result<()> {
    each(cx, "paused", |info| match info.resource.kind.as_str() {
        "Deployment" if paused(info) => Err("is already paused".to_owned()),
        "Deployment" => Ok(json!({"spec": {"paused": true}})),
        _ => Err("pausing is not supported".to_owned()),
    })
    .await
}

/// Runs `rollout resume`.
pub async fn resume(cx: &Context) -> Result<()> {
    each(cx, "resumed", |info| match info.resource.kind.as_str() {
        "Deployment" if !paused(info) => Err("is not paused".to_owned()),
        "Deployment" => Ok(json!({"spec": {"paused": null}})),
        _ => Err("resuming is not supported".to_owned()),
    })
    .await
}

/// Runs `rollout restart`.
pub async fn restart(cx: &Context) -> Result<()> {
    let now = crate::duration::now()
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
        .replace("+00:00", "Z");
    each(cx, "restarted", |info| match info.resource.kind.as_str() {
        "Deployment" if paused(info) => Err("can't restart paused deployment (run rollout resume first)".to_owned()),
        "Deployment" | "DaemonSet" | "StatefulSet" => {
            Ok(json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}}))
        }
        _ => Err("restarting is not supported".to_owned()),
    })
    .await
}
