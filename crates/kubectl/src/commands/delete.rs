//! `kubectl delete`.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::report::DryRun;
use crate::cli::context::Context;
use crate::client::{JSON, Query};
use crate::error::{Error, Result};
use crate::resource::select::{self, NOTHING_GIVEN, Selection};
use crate::resource::{Info, files};
use crate::{fail, out};

const FORCED: &str = "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.";

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    if let Some(path) = cx.flags.opt("raw") {
        let answer = cx.client()?.change(Method::DELETE, path, JSON, &json!({})).await?;
        out(&format!("{answer}\n"));
        return Ok(());
    }
    let dry_run = DryRun::of(cx)?;
    check(cx)?;
    let targets = targets(cx).await?;
    if targets.is_empty() {
        out("No resources found\n");
        return Ok(());
    }
    if cx.flags.bool("interactive") && !confirmed(&targets)? {
        return Ok(());
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for info in targets {
        match delete(cx, &info, dry_run).await {
            Ok(uid) => deleted.push((info, uid)),
            Err(error) if error.is_not_found() && ignores_missing(cx) => {}
            Err(error @ Error::Status(_)) => errors.push(error),
            Err(other) => return Err(other),
        }
    }
    let timeout = cx.flags.duration("timeout");
    let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
    if cx.flags.bool("wait") && !cx.flags.bool("force") && dry_run == DryRun::No {
        for (info, uid) in &deleted {
            wait_gone(cx, info, uid.as_deref(), deadline).await?;
        }
    }
    Error::collect(errors)
}

fn check(cx: &Context) -> Result<()> {
    let flags = &cx.flags;
    if flags.bool("all") && flags.opt("selector").is_some() {
        fail!("setting 'all' parameter but found a non empty selector. ");
    }
    if flags.bool("all") && flags.opt("field-selector").is_some() {
        fail!("cannot set --all and --field-selector at the same time");
    }
    if flags.int("grace-period") == 0 && !flags.bool("force") && flags.changed("grace-period") {
        // Upstream waits for the deletion although none is graceful.
        eprintln!("{FORCED}");
    }
    if flags.bool("force") {
        eprintln!("{FORCED}");
    }
    if flags.bool("now") && flags.changed("grace-period") {
        fail!("--now and --grace-period cannot be specified together");
    }
    if !matches!(flags.text("cascade"), "background" | "foreground" | "orphan" | "true" | "false") {
        fail!(
            "invalid cascade value ({}). Must be \"background\", \"foreground\", or \"orphan\"",
            flags.text("cascade")
        );
    }
    Ok(())
}

fn ignores_missing(cx: &Context) -> bool {
    // What a selector found may be gone by now.
    cx.flags.bool("ignore-not-found") || cx.flags.bool("all") && !cx.flags.changed("ignore-not-found")
}

/// What is to be deleted. Objects given by name are not read first.
async fn targets(cx: &Context) -> Result<Vec<Info>> {
    if cx.flags.changed("filename") || cx.flags.opt("kustomize").is_some() {
        return files::load(cx).await;
    }
    if cx.args().is_empty() {
        return Err(Error::Plain(NOTHING_GIVEN.to_owned()));
    }
    let selective =
        cx.flags.opt("selector").is_some() || cx.flags.opt("field-selector").is_some() || cx.flags.bool("all");
    let mut infos = Vec::new();
    for wanted in select::wanted(cx, cx.args()).await? {
        match wanted.name {
            Some(_) if selective && !cx.flags.bool("all") => {
                fail!("name cannot be provided when a selector is specified")
            }
            Some(name) => {
                let namespace = if wanted.resource.namespaced { Some(cx.namespace()?) } else { None };
                infos.push(Info {
                    resource: wanted.resource,
                    namespace,
                    name,
                    object: Value::Null,
                    source: String::new(),
                });
            }
            None if !selective => fail!("resource(s) were provided, but no name was specified"),
            None => {
                let words = [wanted.resource.qualified()];
                let (found, errors) = select::objects(cx, &words, Selection::default()).await?;
                Error::collect(errors)?;
                infos.extend(found);
            }
        }
    }
    Ok(infos)
}

fn confirmed(targets: &[Info]) -> Result<bool> {
    out("You are about to delete the following ");
    out(&format!("{} resource(s):\n", targets.len()));
    for info in targets {
        out(&format!("{}\n", info.display()));
    }
    out("Do you want to continue? (y/N): ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        out("deletion is cancelled\n");
    }
    Ok(yes)
}

/// Deletes one object; returns its UID.
async fn delete(cx: &Context, info: &Info, dry_run: DryRun) -> Result<Option<String>> {
    let flags = &cx.flags;
    let mut options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy(flags.text("cascade"))});
    let mut grace = flags.int("grace-period");
    if flags.bool("now") {
        grace = 1;
    }
    if flags.bool("force") && grace < 0 {
        grace = 0;
    }
    if grace >= 0 {
        options["gracePeriodSeconds"] = json!(grace);
    }
    let query = Query::default().with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"));
    if dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    let uid = if dry_run == DryRun::Client {
        info.fetch(cx).await?;
        None
    } else {
        let answer = cx.client()?.change(Method::DELETE, &query.on(&info.path()), JSON, &options).await;
        let answer =
            if info.source.is_empty() { answer } else { answer.map_err(|e| e.during("deleting", &info.source)) }?;
        answer["metadata"]["uid"].as_str().or(answer["details"]["uid"].as_str()).map(str::to_owned)
    };
    say(cx, info, dry_run);
    Ok(uid)
}

fn policy(cascade: &str) -> &'static str {
    match cascade {
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        _ => "Background",
    }
}

fn say(cx: &Context, info: &Info, dry_run: DryRun) {
    if cx.flags.text("output") == "name" {
        return out(&format!("{}\n", info.display()));
    }
    let kind = info.resource.object_name("");
    let done = if cx.flags.int("grace-period") == 0 || cx.flags.bool("force") { "force deleted" } else { "deleted" };
    let suffix = dry_run.suffix();
    out(&format!("{} {:?} {done}{suffix}\n", kind.trim_end_matches('/'), info.name));
}

/// Waits until the object is gone, or another has its name.
pub async fn wait_gone(cx: &Context, info: &Info, uid: Option<&str>, deadline: Option<Instant>) -> Result<()> {
    let mut pause = Duration::from_millis(20);
    loop {
        match info.fetch(cx).await {
            Err(error) if error.is_not_found() => return Ok(()),
            // Who may delete need not be allowed to read.
            Err(error) if matches!(error.reason(), "Forbidden" | "MethodNotAllowed") => return Ok(()),
            Err(error) => return Err(error),
            Ok(live) if uid.is_some_and(|uid| live["metadata"]["uid"] != uid) => return Ok(()),
            Ok(_) => {}
        }
        if deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(Error::Plain(format!(
                "timed out waiting for the condition on {}/{}",
                info.resource.name, info.name
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
