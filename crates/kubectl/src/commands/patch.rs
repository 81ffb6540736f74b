//! `kubectl patch` and `kubectl replace`.

use http::Method;
use serde_json::{Value, json};

use super::apply::last_applied;
use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::select::{self, Selection};
use crate::resource::{PatchKind, files};

/// Runs `patch`.
pub async fn run(cx: &Context) -> Result<()> {
    let flags = &cx.flags;
    let kind = match flags.text("type") {
        "json" => PatchKind::Json,
        "merge" => PatchKind::Merge,
        "strategic" => PatchKind::Strategic,
        other => {
            return Err(Error::usage("patch", format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    let text = match (flags.opt("patch"), flags.opt("patch-file")) {
        (Some(_), Some(_)) => fail!("cannot specify --patch and --patch-file together"),
        (Some(text), None) => text.to_owned(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|e| Error::Plain(format!("unable to read patch file: {e}")))?
        }
        (None, None) => fail!("must specify --patch or --patch-file containing the contents of the patch"),
    };
    let patch: Value =
        serde_yaml::from_str(&text).map_err(|e| Error::Plain(format!("unable to parse {text:?}: yaml: {e}")))?;
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    Error::collect(errors)?;
    let query = write_query(cx, dry_run)?;
    for info in infos {
        if flags.bool("local") || dry_run == DryRun::Client {
            let object = locally(&info.object, kind, &patch)?;
            let done = if object == info.object { "patched (no change)" } else { "patched" };
            reporter.say(&info, &object, done);
            continue;
        }
        let object = info.patch(cx, kind, &patch, flags.text("subresource"), &query).await?;
        let same = object["metadata"]["resourceVersion"] == info.object["metadata"]["resourceVersion"];
        reporter.say(&info, &object, if same { "patched (no change)" } else { "patched" });
    }
    Ok(())
}

fn locally(object: &Value, kind: PatchKind, patch: &Value) -> Result<Value> {
    let mut patched = object.clone();
    match kind {
        PatchKind::Json => {
            let operations: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|e| Error::Plain(e.to_string()))?;
            json_patch::patch(&mut patched, &operations).map_err(|e| Error::Plain(e.to_string()))?;
        }
        PatchKind::Merge => json_patch::merge(&mut patched, patch),
        PatchKind::Strategic | PatchKind::Apply => {
            fail!("a strategic patch can't be computed locally by this kubectl: use --dry-run=server, or --type=merge")
        }
    }
    Ok(patched)
}

/// Runs `replace`.
pub async fn replace(cx: &Context) -> Result<()> {
    if let Some(path) = cx.flags.opt("raw") {
        let [name] = cx.flags.array("filename") else { fail!("--raw can only use a single local file or stdin") };
        let body: Value =
            serde_yaml::from_str(&std::fs::read_to_string(name)?).map_err(|e| Error::Plain(e.to_string()))?;
        let answer = cx.client()?.change(Method::PUT, path, crate::client::JSON, &body).await?;
        crate::out(&format!("{answer}\n"));
        return Ok(());
    }
    if !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        fail!("must specify one of -f and -k");
    }
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    let query = write_query(cx, dry_run)?;
    for mut info in files::load(cx).await? {
        if cx.flags.bool("save-config") {
            info.object = last_applied::with_annotation(&info.object);
        }
        if dry_run == DryRun::Client {
            reporter.say(&info, &info.object, "replaced");
            continue;
        }
        if cx.flags.bool("force") || cx.flags.int("grace-period") == 0 {
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background"});
            match cx.client()?.change(Method::DELETE, &info.path(), crate::client::JSON, &options).await {
                Ok(_) => crate::out(&format!(
                    "{} {:?} deleted\n",
                    info.resource.object_name("").trim_end_matches('/'),
                    info.name
                )),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
            super::delete::wait_gone(cx, &info, None, None).await?;
            let object = info.create(cx, &query).await.map_err(|e| e.during("creating", &info.source))?;
            reporter.say(&info, &object, "replaced");
            continue;
        }
        let object = info
            .replace(cx, cx.flags.text("subresource"), &query)
            .await
            .map_err(|e| e.during("replacing", &info.source))?;
        reporter.say(&info, &object, "replaced");
    }
    Ok(())
}
