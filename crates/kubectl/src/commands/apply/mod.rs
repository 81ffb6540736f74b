//! `kubectl apply`: client side by a three-way merge with the last applied configuration, or server side.

pub mod last_applied;
pub mod three_way;

use http::Method;
use serde_json::{Value, json};

use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::client::Query;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::{Info, PatchKind, files};
use last_applied::ANNOTATION;

const CONFLICT_HELP: &str = "Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// How often a conflicting patch is made anew.
const RETRIES: usize = 5;

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    if !cx.args().is_empty() {
        return Err(Error::usage("apply", format!("Unexpected args: [{}]", cx.args().join(" "))));
    }
    for flag in ["prune", "prune-allowlist", "applyset"] {
        if cx.flags.changed(flag) {
            fail!("--{flag} is not supported by this kubectl");
        }
    }
    if !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        fail!("must specify one of -f and -k");
    }
    let dry_run = DryRun::of(cx)?;
    let server_side = cx.flags.bool("server-side");
    if cx.flags.bool("force-conflicts") && !server_side {
        fail!("--force-conflicts only works with --server-side");
    }
    if dry_run == DryRun::Client && server_side {
        fail!("--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)");
    }
    let infos = files::load(cx).await?;
    if infos.is_empty() {
        fail!("no objects passed to apply");
    }
    let reporter = Reporter::new(cx, dry_run)?;
    let mut errors = Vec::new();
    for info in infos {
        let applied = if server_side {
            server_side_apply(cx, &info, dry_run).await
        } else {
            client_side(cx, &info, dry_run).await
        };
        match applied {
            Ok((object, done)) => reporter.collect(&info, &object, done),
            Err(error) => errors.push(error),
        }
    }
    reporter.finish();
    Error::collect(errors)
}

fn field_manager(cx: &Context, default: &str) -> String {
    if cx.flags.changed("field-manager") { cx.flags.text("field-manager").to_owned() } else { default.to_owned() }
}

async fn server_side_apply(cx: &Context, info: &Info, dry_run: DryRun) -> Result<(Value, &'static str)> {
    let query = query(cx, dry_run, "kubectl")?.with_opt("force", cx.flags.bool("force-conflicts").then_some("true"));
    if info.name.is_empty() {
        fail!("error when patching {:?}: name is required for server-side apply", info.source);
    }
    match info.patch(cx, PatchKind::Apply, &info.object, "", &query).await {
        Ok(object) => Ok((object, "serverside-applied")),
        Err(error) if error.is_conflict() => Err(Error::Plain(format!("{error}\n{CONFLICT_HELP}"))),
        Err(error) => Err(error),
    }
}

fn query(cx: &Context, dry_run: DryRun, manager: &str) -> Result<Query> {
    let mut query = write_query(cx, dry_run)?;
    if !cx.flags.changed("field-manager") {
        query = query.replacing("fieldManager", &field_manager(cx, manager));
    }
    Ok(query)
}

async fn client_side(cx: &Context, info: &Info, dry_run: DryRun) -> Result<(Value, &'static str)> {
    let modified = last_applied::with_annotation(&info.object);
    let query = query(cx, dry_run, "kubectl-client-side-apply")?;
    if info.name.is_empty() {
        let generated = info.object["metadata"]["generateName"].as_str().unwrap_or_default();
        if !generated.is_empty() {
            fail!("from {generated}: cannot use generate name with apply");
        }
        fail!("error when retrieving current configuration of {:?}: resource name may not be empty", info.source);
    }
    let current = match info.fetch(cx).await {
        Ok(current) => current,
        Err(error) if error.is_not_found() => {
            if dry_run == DryRun::Client {
                return Ok((modified, "created"));
            }
            let wanted = Info { object: modified, ..info.clone() };
            let created = wanted.create(cx, &query).await.map_err(|e| e.during("creating", &info.source))?;
            return Ok((created, "created"));
        }
        Err(error) => return Err(retrieving(error, info)),
    };
    patch(cx, info, current, &modified, &query, dry_run).await
}

fn retrieving(error: Error, info: &Info) -> Error {
    match error {
        Error::Status(_) => error.during("retrieving current configuration of", &info.source),
        other => other,
    }
}

async fn patch(
    cx: &Context,
    info: &Info,
    mut current: Value,
    modified: &Value,
    query: &Query,
    dry_run: DryRun,
) -> Result<(Value, &'static str)> {
    if current["metadata"]["annotations"][ANNOTATION].is_null() {
        eprintln!(
            "Warning: resource {}/{} is missing the {ANNOTATION} annotation which is required by kubectl apply. kubectl apply should only be used on resources created declaratively by either kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically.",
            info.resource.name, info.name
        );
    }
    for attempt in 0.. {
        let (kind, patch) = make_patch(info, &current, modified)?;
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok((current, "unchanged"));
        }
        if dry_run == DryRun::Client {
            return Ok((merged(&current, &patch), "configured"));
        }
        match info.patch(cx, kind, &patch, "", query).await {
            Ok(object) => {
                let same = object["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
                    && dry_run == DryRun::No;
                return Ok((object, if same { "unchanged" } else { "configured" }));
            }
            Err(error) if error.is_conflict() && attempt < RETRIES => current = info.fetch(cx).await?,
            Err(error) if cx.flags.bool("force") && matches!(error.reason(), "Invalid" | "Conflict") => {
                return recreate(cx, info, modified, query).await;
            }
            Err(error) => return Err(applying(error, info, &patch)),
        }
    }
    fail!("too many conflicts")
}

/// A refused patch is shown with its error, as upstream does.
fn applying(error: Error, info: &Info, patch: &Value) -> Error {
    let Error::Status(mut status) = error else { return error };
    let resource = &info.resource;
    let (group, version) = (&resource.group, &resource.version);
    let message = status["message"].as_str().unwrap_or_default();
    let at = if group.is_empty() { format!("/{version}") } else { format!("{group}/{version}") };
    status["message"] = json!(format!(
        "error when applying patch:\n{}\nto:\nResource: \"{at}, Resource={}\", GroupVersionKind: \"{at}, Kind={}\"\nName: {:?}, Namespace: {:?}\nfor: {:?}: error when patching {:?}: {message}",
        crate::output::compact_json(patch),
        resource.name,
        resource.kind,
        info.name,
        info.namespace.as_deref().unwrap_or_default(),
        info.source,
        info.source
    ));
    Error::Status(status)
}

/// `--force`: an object that cannot be changed is deleted and made anew.
async fn recreate(cx: &Context, info: &Info, modified: &Value, query: &Query) -> Result<(Value, &'static str)> {
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background"});
    cx.client()?.change(Method::DELETE, &info.path(), crate::client::JSON, &options).await?;
    super::delete::wait_gone(cx, info, None, None).await?;
    let wanted = Info { object: modified.clone(), ..info.clone() };
    Ok((wanted.create(cx, query).await?, "configured"))
}

/// The patch that leads from the live object to the wanted one.
fn make_patch(info: &Info, current: &Value, modified: &Value) -> Result<(PatchKind, Value)> {
    let original = last_applied::of(current)?;
    let schema = api_types::schema::lookup(&info.resource.group, &info.resource.version, &info.resource.kind);
    let patch = three_way::patch(&original, modified, current, schema.as_ref());
    Ok((if schema.is_some() { PatchKind::Strategic } else { PatchKind::Merge }, patch))
}

/// What a client-side dry run shows: the live object with the patch's values in it.
fn merged(current: &Value, patch: &Value) -> Value {
    let mut merged = current.clone();
    json_patch::merge(&mut merged, patch);
    merged
}
