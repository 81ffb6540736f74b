//! The annotation in which client-side apply keeps what was applied, and the commands about it.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::client::Query;
use crate::commands::report::{DryRun, Reporter};
use crate::error::{Error, Result};
use crate::output::yaml;
use crate::resource::select::{self, Selection};
use crate::resource::{PatchKind, files};
use crate::{fail, out};

/// The annotation's name.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The annotation's value for an object: the object without the annotation.
pub fn value(object: &Value) -> String {
    let mut bare = object.clone();
    match bare["metadata"]["annotations"].as_object_mut() {
        Some(annotations) => {
            annotations.remove(ANNOTATION);
        }
        None => bare["metadata"]["annotations"] = json!({}),
    }
    crate::output::compact_json(&bare) + "\n"
}

/// The object with the annotation.
pub fn with_annotation(object: &Value) -> Value {
    let mut annotated = object.clone();
    let value = value(object);
    if !annotated["metadata"]["annotations"].is_object() {
        annotated["metadata"]["annotations"] = json!({});
    }
    annotated["metadata"]["annotations"][ANNOTATION] = json!(value);
    annotated
}

/// What was applied last, read off a live object; an empty object when nothing was.
pub fn of(live: &Value) -> Result<Value> {
    match live["metadata"]["annotations"][ANNOTATION].as_str() {
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Error::Plain(format!("the {ANNOTATION} annotation is not JSON: {e}"))),
        None => Ok(json!({})),
    }
}

/// `apply view-last-applied`.
pub async fn view(cx: &Context) -> Result<()> {
    let (infos, errors) = select::objects(cx, cx.args(), Selection::default()).await?;
    Error::collect(errors)?;
    for info in infos {
        if info.object["metadata"]["annotations"][ANNOTATION].is_null() {
            fail!("no last-applied-configuration annotation found on resource: {}", info.name);
        }
        let applied = of(&info.object)?;
        match cx.flags.text("output") {
            "json" => out(&crate::output::json(&applied)),
            "" | "yaml" => out(&yaml::to_string(&applied)),
            other => fail!("Unexpected -o output mode: {other}, the flag 'output' must be one of yaml|json"),
        }
    }
    Ok(())
}

/// `apply set-last-applied`.
pub async fn set(cx: &Context) -> Result<()> {
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    for info in files::load(cx).await? {
        let live = info.fetch(cx).await?;
        if live["metadata"]["annotations"][ANNOTATION].is_null() && !cx.flags.bool("create-annotation") {
            fail!(
                "no last-applied-configuration annotation found on resource: {}, to create the annotation, run the command with --create-annotation",
                info.name
            );
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION: value(&info.object)}}});
        let query = Query::default().with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"));
        let object =
            if dry_run == DryRun::Client { live } else { info.patch(cx, PatchKind::Merge, &patch, "", &query).await? };
        reporter.say(&info, &object, "configured");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_holds_the_object_without_itself() {
        let object = json!({"kind": "A", "metadata": {"name": "x"}});
        let annotated = with_annotation(&object);
        assert_eq!(
            annotated["metadata"]["annotations"][ANNOTATION],
            "{\"kind\":\"A\",\"metadata\":{\"annotations\":{},\"name\":\"x\"}}\n"
        );
        assert_eq!(value(&annotated), value(&object));
        assert_eq!(of(&annotated).unwrap()["kind"], "A");
        assert_eq!(of(&object).unwrap(), json!({}));
    }
}
