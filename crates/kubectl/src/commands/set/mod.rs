//! `kubectl set`: image, env, resources, serviceaccount, selector, subject.

mod env;

pub use env::env;

use serde_json::{Value, json};

use super::apply::three_way;
use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;
use crate::resource::select::{self, Selection};
use crate::resource::{Info, PatchKind};

/// The pod spec inside an object, if there is one.
pub(super) fn pod_spec<'a>(kind: &str, object: &'a mut Value) -> Option<&'a mut Value> {
    let path = match kind {
        "Pod" => "/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    object.pointer_mut(path)
}

/// Changes every selected object with `change`, and says what was done.
pub(super) async fn update(
    cx: &Context,
    words: &[String],
    done: &str,
    change: impl Fn(&Info, &mut Value) -> Result<()>,
) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    let local = cx.flags.bool("local");
    let reporter = Reporter::new(cx, dry_run)?;
    let (infos, mut errors) =
        select::objects(cx, words, Selection { from_files: local, ..Selection::default() }).await?;
    for info in infos {
        let mut wanted = info.object.clone();
        if let Err(error) = change(&info, &mut wanted) {
            errors.push(error);
            continue;
        }
        if local || dry_run == DryRun::Client {
            reporter.say(&info, &wanted, done);
            continue;
        }
        let schema = api_types::schema::lookup(&info.resource.group, &info.resource.version, &info.resource.kind);
        let patch = three_way::patch(&info.object, &wanted, &info.object, schema.as_ref());
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            continue;
        }
        let kind = if schema.is_some() { PatchKind::Strategic } else { PatchKind::Merge };
        match info.patch(cx, kind, &patch, "", &write_query(cx, dry_run)?).await {
            Ok(object) => reporter.say(&info, &object, done),
            Err(error) => errors.push(Error::Plain(format!("failed to patch: {error}"))),
        }
    }
    Error::collect(errors)
}

/// Words without `=`, and pairs with it.
pub(super) fn partition(cx: &Context) -> (Vec<String>, Vec<(String, String)>) {
    let (mut names, mut pairs) = (Vec::new(), Vec::new());
    for word in cx.args() {
        match word.split_once('=') {
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None => names.push(word.clone()),
        }
    }
    (names, pairs)
}

fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let Some(map) = spec.as_object_mut() else { return Vec::new().into_iter() };
    let found = map.iter_mut().filter(|(k, _)| *k == "containers" || *k == "initContainers");
    found.flat_map(|(_, v)| v.as_array_mut().into_iter().flatten()).collect::<Vec<_>>().into_iter()
}

/// Whether a container's name matches a pattern with `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        }
    }
}

/// Runs `set image`.
pub async fn image(cx: &Context) -> Result<()> {
    let (words, images) = partition(cx);
    if words.is_empty() && !cx.flags.changed("filename") {
        fail!("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    if images.is_empty() {
        fail!("at least one image update is required");
    }
    update(cx, &words, "image updated", |info, object| {
        let Some(spec) = pod_spec(&info.resource.kind, object) else {
            fail!("the object is not a pod or does not have a pod template")
        };
        for (name, image) in &images {
            let mut found = false;
            for container in containers(spec).filter(|c| name == "*" || c["name"] == name.as_str()) {
                container["image"] = json!(image);
                found = true;
            }
            if !found {
                fail!("unable to find container named {name:?}");
            }
        }
        Ok(())
    })
    .await
}

fn quantities(text: &str) -> Result<Value> {
    let mut list = json!({});
    for pair in text.split(',').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            fail!("Invalid argument syntax {pair}, expected <resource>=<value>")
        };
        list[key] = json!(value);
    }
    Ok(list)
}

/// Runs `set resources`.
pub async fn resources(cx: &Context) -> Result<()> {
    let (limits, requests) = (quantities(cx.flags.text("limits"))?, quantities(cx.flags.text("requests"))?);
    if limits == json!({}) && requests == json!({}) {
        fail!("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    let pattern = cx.flags.text("containers").to_owned();
    update(cx, cx.args(), "resource requirements updated", |info, object| {
        let Some(spec) = pod_spec(&info.resource.kind, object) else {
            fail!("the object is not a pod or does not have a pod template")
        };
        let mut found = false;
        for container in containers(spec).filter(|c| matches(&pattern, c["name"].as_str().unwrap_or_default())) {
            found = true;
            for (key, list) in [("limits", &limits), ("requests", &requests)] {
                for (name, value) in list.as_object().into_iter().flatten() {
                    // Zero takes the resource away.
                    if value == "0" {
                        if let Some(map) =
                            container.pointer_mut(&format!("/resources/{key}")).and_then(Value::as_object_mut)
                        {
                            map.remove(name);
                        }
                    } else {
                        container["resources"][key][name] = value.clone();
                    }
                }
            }
        }
        if !found {
            fail!("unable to find container named {pattern}");
        }
        Ok(())
    })
    .await
}

/// Runs `set serviceaccount`.
pub async fn serviceaccount(cx: &Context) -> Result<()> {
    let Some((account, words)) = cx.args().split_last() else {
        fail!("serviceaccount is required");
    };
    if words.is_empty() && !cx.flags.changed("filename") {
        fail!("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    update(cx, words, "serviceaccount updated", |info, object| {
        let Some(spec) = pod_spec(&info.resource.kind, object) else {
            fail!("the object is not a pod or does not have a pod template")
        };
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
        Ok(())
    })
    .await
}

/// Runs `set selector`.
pub async fn selector(cx: &Context) -> Result<()> {
    let Some((text, words)) = cx.args().split_last().filter(|(t, _)| t.contains('=')) else {
        fail!("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    };
    let mut labels = json!({});
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else { fail!("unexpected selector: {text}") };
        labels[key] = json!(value);
    }
    update(cx, words, "selector updated", |info, object| {
        if info.resource.kind != "Service" {
            fail!("setting a selector is only supported for Services");
        }
        object["spec"]["selector"] = labels.clone();
        Ok(())
    })
    .await
}

/// Runs `set subject`.
pub async fn subject(cx: &Context) -> Result<()> {
    let added = super::create::subjects(cx)?;
    if added.is_empty() {
        fail!("you must specify at least one value of user, group or serviceaccount");
    }
    update(cx, cx.args(), "subjects updated", |info, object| {
        if !matches!(info.resource.kind.as_str(), "RoleBinding" | "ClusterRoleBinding") {
            fail!("setting subjects is only supported for RoleBinding/ClusterRoleBinding");
        }
        let mut subjects = object["subjects"].as_array().cloned().unwrap_or_default();
        for subject in &added {
            let same = |s: &Value| {
                s["kind"] == subject["kind"] && s["name"] == subject["name"] && s["namespace"] == subject["namespace"]
            };
            if !subjects.iter().any(same) {
                subjects.push(subject.clone());
            }
        }
        object["subjects"] = json!(subjects);
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("*", "a", true),
            ("web", "web", true),
            ("web*", "web-1", true),
            ("*-1", "web-1", true),
            ("a*a", "a", false),
            ("x", "y", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
