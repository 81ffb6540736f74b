//! `kubectl edit`, `apply edit-last-applied` and `kubectl diff`.

use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use similar::TextDiff;

use super::apply::{last_applied, three_way};
use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::client::{JSON, Query};
use crate::error::{Error, Result};
use crate::output::printer::without_managed_fields;
use crate::output::yaml;
use crate::resource::select::{self, NOTHING_GIVEN, Selection};
use crate::resource::{Info, PatchKind, files};
use crate::{fail, out};

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";

/// Opens text in the user's editor; returns the edited text and the file that holds it.
fn edited(text: &str, suffix: &str) -> Result<(String, tempfile::NamedTempFile)> {
    use std::io::Write;
    let mut file = tempfile::Builder::new().prefix("kubectl-edit-").suffix(suffix).tempfile()?;
    file.write_all(text.as_bytes())?;
    let editor = ["KUBE_EDITOR", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|e| !e.is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // The editor may be a command with arguments.
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file.path()).status();
    let status = status.map_err(|e| Error::Plain(format!("unable to launch the editor {editor:?}: {e}")))?;
    if !status.success() {
        fail!("there was a problem with the editor {editor:?}");
    }
    Ok((std::fs::read_to_string(file.path())?, file))
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect()
}

/// Runs `edit`.
pub async fn edit(cx: &Context) -> Result<()> {
    if cx.args().is_empty() && !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        return Err(Error::Plain(NOTHING_GIVEN.to_owned()));
    }
    let as_json = match cx.flags.text("output") {
        "" | "yaml" => false,
        "json" => true,
        other => fail!("The flag 'output' must be one of yaml|json, not {other}"),
    };
    let (infos, errors) =
        select::objects(cx, cx.args(), Selection { whole_types: true, ..Selection::default() }).await?;
    Error::collect(errors)?;
    if infos.is_empty() {
        fail!("edit cancelled, no objects found");
    }
    let objects: Vec<Value> = infos.iter().map(|i| without_managed_fields(i.object.clone(), &cx.flags)).collect();
    let document = match objects.as_slice() {
        [one] => one.clone(),
        several => json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": several}),
    };
    let text = if as_json { crate::output::json(&document) } else { yaml::to_string(&document) };
    let original = format!("{HEADER}{text}");
    let (result, file) = edited(&original, if as_json { ".json" } else { ".yaml" })?;
    let plain = without_comments(&result);
    if plain.trim().is_empty() {
        out("Edit cancelled, saved file was empty.\n");
        return Ok(());
    }
    if plain == without_comments(&original) {
        out("Edit cancelled, no changes made.\n");
        return Ok(());
    }
    let outcome = save(cx, &infos, &objects, &plain).await;
    if let Err(error) = outcome {
        let (_, kept) = file.keep().map_err(|e| Error::Plain(e.error.to_string()))?;
        eprintln!("{}", error.report().0);
        eprintln!("A copy of your changes has been stored to {:?}", kept.display().to_string());
        fail!("Edit cancelled, no valid changes were saved.");
    }
    Ok(())
}

async fn save(cx: &Context, infos: &[Info], originals: &[Value], text: &str) -> Result<()> {
    let reporter = Reporter::new(cx, DryRun::No)?;
    for wanted in files::parse(text, "the edited file")? {
        let found = infos
            .iter()
            .zip(originals)
            .find(|(i, _)| wanted["metadata"]["name"] == i.name.as_str() && wanted["kind"] == i.resource.kind.as_str());
        let Some((info, original)) = found else {
            fail!("At least one of apiVersion, kind and name was changed");
        };
        let schema = api_types::schema::lookup(&info.resource.group, &info.resource.version, &info.resource.kind);
        let patch = three_way::patch(original, &wanted, original, schema.as_ref());
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            out(&format!("{} skipped\n", info.display()));
            continue;
        }
        if cx.flags.bool("output-patch") {
            out(&format!("Patch: {}\n", crate::output::compact_json(&patch)));
        }
        let kind = if schema.is_some() { PatchKind::Strategic } else { PatchKind::Merge };
        let object = info.patch(cx, kind, &patch, cx.flags.text("subresource"), &write_query(cx, DryRun::No)?).await?;
        let human = Reporter::new(cx, DryRun::No)?.format.is_human();
        if human { reporter.say(info, &object, "edited") } else { out(&format!("{} edited\n", info.display())) }
    }
    Ok(())
}

/// Runs `apply edit-last-applied`.
pub async fn edit_last_applied(cx: &Context) -> Result<()> {
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        if info.object["metadata"]["annotations"][last_applied::ANNOTATION].is_null() {
            fail!("no last-applied-configuration annotation found on resource: {}", info.name);
        }
        let original = yaml::to_string(&last_applied::of(&info.object)?);
        let (result, _file) = edited(&format!("{HEADER}{original}"), ".yaml")?;
        let text = without_comments(&result);
        if text == original {
            out("Edit cancelled, no changes made.\n");
            continue;
        }
        let wanted: Value =
            serde_yaml::from_str(&text).map_err(|e| Error::Plain(format!("the edited file is not YAML: {e}")))?;
        let patch = json!({"metadata": {"annotations": {last_applied::ANNOTATION: last_applied::value(&wanted)}}});
        info.patch(cx, PatchKind::Merge, &patch, "", &Query::default()).await?;
        out(&format!("{} edited\n", info.display()));
    }
    Ok(())
}

/// Runs `diff`: ends with 1 when something would change.
pub async fn diff(cx: &Context) -> Result<()> {
    if !cx.flags.changed("filename") && cx.flags.opt("kustomize").is_none() {
        fail!("must specify one of -f and -k");
    }
    for flag in ["prune", "prune-allowlist"] {
        if cx.flags.changed(flag) {
            fail!("--{flag} is not supported by this kubectl");
        }
    }
    let mut changed = false;
    for info in files::load(cx).await? {
        let live = match info.fetch(cx).await {
            Ok(live) => Some(live),
            Err(error) if error.is_not_found() => None,
            // Above 1, so that scripts can tell failures from differences.
            Err(error) => return Err(trouble(&error)),
        };
        let merged = would_be(cx, &info, live.as_ref()).await.map_err(|e| trouble(&e))?;
        changed |= print_diff(cx, &info, live.as_ref(), &merged);
    }
    if changed { Err(Error::Exit(1, String::new())) } else { Ok(()) }
}

fn trouble(error: &Error) -> Error {
    Error::Exit(2, error.report().0)
}

async fn would_be(cx: &Context, info: &Info, live: Option<&Value>) -> Result<Value> {
    let server_side = cx.flags.bool("server-side");
    let manager = match cx.flags.opt("field-manager") {
        Some(name) if cx.flags.changed("field-manager") => name,
        _ if server_side => "kubectl",
        _ => "kubectl-client-side-apply",
    };
    let query = Query::default().with("dryRun", "All").with("fieldManager", manager);
    if server_side {
        let query = query.with_opt("force", cx.flags.bool("force-conflicts").then_some("true"));
        return info.patch(cx, PatchKind::Apply, &info.object, "", &query).await;
    }
    // Without the annotation of what was applied: it would always differ.
    let mut modified = info.object.clone();
    if !modified["metadata"]["annotations"].is_object() {
        modified["metadata"]["annotations"] = json!({});
    }
    let Some(live) = live else {
        let path = query.on(&info.resource.path(info.namespace.as_deref()));
        return cx.client()?.change(Method::POST, &path, JSON, &modified).await;
    };
    let schema = api_types::schema::lookup(&info.resource.group, &info.resource.version, &info.resource.kind);
    let patch = three_way::patch(&last_applied::of(live)?, &modified, live, schema.as_ref());
    let kind = if schema.is_some() { PatchKind::Strategic } else { PatchKind::Merge };
    info.patch(cx, kind, &patch, "", &query).await
}

/// Prints the difference of two objects; says whether there is one.
fn print_diff(cx: &Context, info: &Info, live: Option<&Value>, merged: &Value) -> bool {
    let text = |object: &Value| {
        let mut object = without_managed_fields(object.clone(), &cx.flags);
        if info.resource.kind == "Secret" {
            mask(&mut object);
        }
        yaml::to_string(&object)
    };
    let (before, after) = (live.map(text).unwrap_or_default(), text(merged));
    if before == after {
        return false;
    }
    let group = if info.resource.group.is_empty() { String::new() } else { format!("{}.", info.resource.group) };
    let name = format!(
        "{group}{}.{}.{}.{}",
        info.resource.version,
        info.resource.kind,
        info.namespace.as_deref().unwrap_or_default(),
        info.name
    );
    out(&format!("diff -u -N LIVE/{name} MERGED/{name}\n"));
    let diff = TextDiff::from_lines(&before, &after);
    out(&diff.unified_diff().context_radius(3).header(&format!("LIVE/{name}"), &format!("MERGED/{name}")).to_string());
    true
}

fn mask(object: &mut Value) {
    for (_, value) in object.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten() {
        *value = json!("***");
    }
}
