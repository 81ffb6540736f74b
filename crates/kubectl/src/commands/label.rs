//! `kubectl label` and `kubectl annotate`.

use serde_json::{Map, Value, json};

use super::report::{DryRun, Reporter, write_query};
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::resource::select::{self, Selection};
use crate::resource::{Info, PatchKind};
use crate::{fail, out};

/// What is changed.
struct Subject {
    field: &'static str,
    one: &'static str,
    done: &'static str,
}

/// A key with the value to set, or without one to remove.
type Change<'a> = (&'a str, Option<&'a str>);

/// Runs `label`.
pub async fn label(cx: &Context) -> Result<()> {
    change(cx, &Subject { field: "labels", one: "label", done: "labeled" }).await
}

/// Runs `annotate`.
pub async fn annotate(cx: &Context) -> Result<()> {
    change(cx, &Subject { field: "annotations", one: "annotation", done: "annotated" }).await
}

/// Words that name objects, `key=value` to set, `key-` to remove.
fn split<'a>(words: &'a [String], subject: &Subject) -> Result<(Vec<String>, Vec<Change<'a>>)> {
    let (mut names, mut changes) = (Vec::new(), Vec::new());
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => changes.push((key, Some(value))),
            (None, Some(key)) if !key.is_empty() => changes.push((key, None)),
            (Some(_), _) => fail!("invalid {} spec: {word}", subject.one),
            _ if changes.is_empty() => names.push(word.clone()),
            _ => fail!("all resources must be specified before {} changes: {word}", subject.one),
        }
    }
    for (key, value) in &changes {
        if value.is_none() && changes.iter().any(|(k, v)| k == key && v.is_some()) {
            fail!(
                "can not both modify and remove {} in the same command",
                if subject.one == "label" { "a label" } else { "an annotation" }
            );
        }
    }
    Ok((names, changes))
}

async fn change(cx: &Context, subject: &Subject) -> Result<()> {
    let (words, changes) = split(cx.args(), subject)?;
    let listing = cx.flags.bool("list");
    if changes.is_empty() && !listing {
        fail!("at least one {} update is required", subject.one);
    }
    let dry_run = DryRun::of(cx)?;
    let local = cx.flags.bool("local");
    let reporter = Reporter::new(cx, dry_run)?;
    let (infos, mut errors) =
        select::objects(cx, &words, Selection { from_files: local, ..Selection::default() }).await?;
    if infos.is_empty() && errors.is_empty() {
        eprintln!("No resources found");
        return Ok(());
    }
    let several = infos.len() > 1;
    for info in infos {
        match change_one(cx, subject, &info, &changes, dry_run).await {
            Ok((object, done)) => {
                if listing {
                    if several {
                        out(&format!(
                            "Listing {} for {}.{}/{}:\n",
                            subject.field, info.resource.kind, info.resource.group, info.name
                        ));
                    }
                    for (key, value) in object["metadata"][subject.field].as_object().into_iter().flatten() {
                        out(&format!("{key}={}\n", value.as_str().unwrap_or_default()));
                    }
                } else {
                    reporter.say(&info, &object, done);
                }
            }
            Err(error) => errors.push(error),
        }
    }
    Error::collect(errors)
}

async fn change_one(
    cx: &Context,
    subject: &Subject,
    info: &Info,
    changes: &[(&str, Option<&str>)],
    dry_run: DryRun,
) -> Result<(Value, &'static str)> {
    let current = info.object["metadata"][subject.field].as_object().cloned().unwrap_or_default();
    let (patch, missing) = plan(&current, changes, cx.flags.bool("overwrite"), subject)?;
    for key in missing.iter().filter(|_| subject.one == "label") {
        out(&format!("{} {key:?} not found.\n", subject.one));
    }
    if patch.is_empty() {
        return Ok((info.object.clone(), if subject.one == "label" { "not labeled" } else { subject.done }));
    }
    let done = if subject.one == "label" && patch.values().all(Value::is_null) { "unlabeled" } else { subject.done };
    let mut body = json!({"metadata": {subject.field: patch}});
    if let Some(version) = cx.flags.opt("resource-version") {
        body["metadata"]["resourceVersion"] = json!(version);
    }
    if cx.flags.bool("local") || dry_run == DryRun::Client {
        let mut object = info.object.clone();
        json_patch::merge(&mut object, &body);
        return Ok((object, done));
    }
    let object = info.patch(cx, PatchKind::Merge, &body, "", &write_query(cx, dry_run)?).await?;
    Ok((object, done))
}

/// The changes that are left to make, and the keys to remove that are not there.
fn plan<'a>(
    current: &Map<String, Value>,
    changes: &[(&'a str, Option<&str>)],
    overwrite: bool,
    subject: &Subject,
) -> Result<(Map<String, Value>, Vec<&'a str>)> {
    let (mut patch, mut missing) = (Map::new(), Vec::new());
    for (key, value) in changes {
        let now = current.get(*key).and_then(Value::as_str);
        match value {
            None if now.is_none() => missing.push(*key),
            None => {
                patch.insert((*key).to_owned(), Value::Null);
            }
            Some(value) if now == Some(value) => {}
            Some(value) => {
                if let Some(now) = now.filter(|_| !overwrite) {
                    if subject.one == "label" {
                        fail!("'{key}' already has a value ({now}), and --overwrite is false");
                    }
                    fail!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({now})"
                    );
                }
                patch.insert((*key).to_owned(), json!(value));
            }
        }
    }
    Ok((patch, missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Subject = Subject { field: "labels", one: "label", done: "labeled" };

    #[test]
    fn words_and_changes() {
        let words: Vec<String> = ["pods", "a", "x=1", "y-"].map(str::to_owned).to_vec();
        let (names, changes) = split(&words, &LABEL).unwrap();
        assert_eq!((names, changes), (vec!["pods".to_owned(), "a".to_owned()], vec![("x", Some("1")), ("y", None)]));
        assert!(split(&["x=1".to_owned(), "pods".to_owned()], &LABEL).is_err());
        assert!(split(&["p".to_owned(), "x=1".to_owned(), "x-".to_owned()], &LABEL).is_err());
    }

    #[test]
    fn plans() {
        let current = json!({"a": "1", "b": "2"}).as_object().cloned().unwrap();
        let run = |changes: &[(&'static str, Option<&str>)], overwrite| {
            plan(&current, changes, overwrite, &LABEL).map_err(|e| e.to_string())
        };
        assert_eq!(
            run(&[("a", Some("1")), ("b", None), ("z", None)], false).unwrap(),
            (json!({"b": null}).as_object().cloned().unwrap(), vec!["z"])
        );
        assert_eq!(
            run(&[("a", Some("9"))], false),
            Err("'a' already has a value (1), and --overwrite is false".to_owned())
        );
        assert_eq!(run(&[("a", Some("9"))], true).unwrap().0["a"], "9");
    }
}
