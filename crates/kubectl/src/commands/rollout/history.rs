//! `kubectl rollout history` and `undo`: revisions of deployments (replica sets), daemon sets and stateful sets (controller revisions).

use serde_json::{Value, json};

use super::{paused, targets};
use crate::cli::context::Context;
use crate::client::Query;
use crate::commands::describe;
use crate::commands::report::{DryRun, Reporter};
use crate::error::Result;
use crate::output::printer::Format;
use crate::output::tabs;
use crate::resource::{Info, PatchKind, list};
use crate::{fail, out};

const CAUSE: &str = "kubernetes.io/change-cause";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// One revision of an object.
struct Revision {
    number: i64,
    cause: String,
    /// The replica set or controller revision.
    object: Value,
}

impl Revision {
    fn template(&self) -> Value {
        match self.object["kind"].as_str() {
            Some("ControllerRevision") => self.object["data"]["spec"]["template"].clone(),
            _ => self.object["spec"]["template"].clone(),
        }
    }
}

/// The revisions of an object, oldest first.
async fn revisions(cx: &Context, info: &Info) -> Result<Vec<Revision>> {
    let holder = match info.resource.kind.as_str() {
        "Deployment" => "replicasets.apps",
        "DaemonSet" | "StatefulSet" => "controllerrevisions.apps",
        kind => fail!("no history viewer has been implemented for {:?}", kind),
    };
    let resource = cx.resource(holder).await?;
    let query = Query::default().with_opt("labelSelector", describe::selector_text(&info.object["spec"]["selector"]));
    let all = list(cx, &resource, info.namespace.as_deref(), &query, 500).await?;
    let mut found: Vec<Revision> = all["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|o| owned_by(o, &info.object))
        .map(|o| {
            let object = Info::of_item(&resource, o.clone()).object;
            let number = match object["revision"].as_i64() {
                Some(number) => number,
                None => object["metadata"]["annotations"][REVISION].as_str().and_then(|r| r.parse().ok()).unwrap_or(0),
            };
            let cause = object["metadata"]["annotations"][CAUSE].as_str().unwrap_or("<none>").to_owned();
            Revision { number, cause, object }
        })
        .collect();
    found.sort_by_key(|r| r.number);
    Ok(found)
}

fn owned_by(object: &Value, owner: &Value) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array();
    references.into_iter().flatten().any(|r| r["controller"] == true && r["uid"] == owner["metadata"]["uid"])
}

/// Runs `rollout history`.
pub async fn history(cx: &Context) -> Result<()> {
    let wanted = cx.flags.int("revision");
    if wanted < 0 {
        fail!("revision must be a positive integer: {wanted}");
    }
    let format = Format::of(&cx.flags)?;
    for info in targets(cx).await? {
        let revisions = revisions(cx, &info).await?;
        let display = info.display();
        if wanted > 0 {
            let Some(revision) = revisions.iter().find(|r| r.number == wanted) else {
                fail!("unable to find the specified revision");
            };
            if !format.is_human() {
                out(&format.object(&revision.object, &display));
                continue;
            }
            out(&format!("{display} with revision #{wanted}\n{}", describe::pod_template(&revision.template())));
            continue;
        }
        if !format.is_human() {
            out(&format.object(&info.object, &display));
            continue;
        }
        if revisions.is_empty() {
            out(&format!("{display} \nNo rollout history found.\n"));
            continue;
        }
        let mut rows = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
        rows.extend(revisions.iter().map(|r| vec![r.number.to_string(), r.cause.clone()]));
        out(&format!("{display} \n{}\n", tabs::align(&rows, 0, 2, &mut Vec::new())));
    }
    Ok(())
}

/// Runs `rollout undo`.
pub async fn undo(cx: &Context) -> Result<()> {
    let wanted = cx.flags.int("to-revision");
    if wanted < 0 {
        fail!("revision must be a positive integer: {wanted}");
    }
    let dry_run = DryRun::of(cx)?;
    let reporter = Reporter::new(cx, dry_run)?;
    for info in targets(cx).await? {
        if info.resource.kind == "Deployment" && paused(&info) {
            fail!(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume deployment/{}' and try again",
                info.name
            );
        }
        let revisions = revisions(cx, &info).await?;
        let target = match wanted {
            0 if revisions.len() < 2 => {
                fail!("no rollout history found for {} {:?}", info.resource.kind.to_lowercase(), info.name)
            }
            0 => &revisions[revisions.len() - 2],
            number => match revisions.iter().find(|r| r.number == number) {
                Some(found) => found,
                None => fail!("unable to find specified revision {number} in history"),
            },
        };
        let template = without_hash(target.template());
        if dry_run == DryRun::Client {
            out(&format!(
                "{} Pod Template:\n{}",
                info.display(),
                describe::pod_template(&template).trim_start_matches("Pod Template:\n")
            ));
            continue;
        }
        if template == without_hash(info.object["spec"]["template"].clone()) {
            out(&format!(
                "{} skipped rollback (current template already matches revision {})\n",
                info.display(),
                target.number
            ));
            continue;
        }
        let query = Query::default().with_opt("dryRun", (dry_run == DryRun::Server).then_some("All"));
        let object = roll_back(cx, &info, template, target, &query).await?;
        reporter.say(&info, &object, "rolled back");
    }
    Ok(())
}

async fn roll_back(cx: &Context, info: &Info, template: Value, target: &Revision, query: &Query) -> Result<Value> {
    if info.resource.kind != "Deployment" {
        // A controller revision holds the patch that leads back to it.
        return info.patch(cx, PatchKind::Strategic, &target.object["data"], "", query).await;
    }
    let mut operations = vec![json!({"op": "replace", "path": "/spec/template", "value": template})];
    let mut annotations = info.object["metadata"]["annotations"].clone();
    if !annotations.is_object() {
        annotations = json!({});
    }
    let cause = &target.object["metadata"]["annotations"][CAUSE];
    if cause.is_string() {
        annotations[CAUSE] = cause.clone();
        operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": annotations}));
    }
    info.patch(cx, PatchKind::Json, &json!(operations), "", query).await
}

fn without_hash(mut template: Value) -> Value {
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    template
}
