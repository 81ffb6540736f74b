//! Job: pods that run to completion.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, has, map_at, set, set_zero, text};
use crate::kind::{Kind, empty_status};
use crate::strategy::Context;

pub(crate) static KIND: Kind =
    Kind { generation: true, initial_status: Some(empty_status), default, prepare_create, ..Kind::PLAIN };

/// The labels that tie a job's pods to it, each in its old and its prefixed spelling.
const LABELS: [&str; 4] =
    ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];

fn default(job: &mut Value) {
    ensure(job, "status");
    let labels = map_at(job, "spec.template.metadata.labels");
    let spec = ensure(job, "spec");
    if !has(spec, "completions") && !has(spec, "parallelism") {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    let limit = if has(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
    set(spec, "backoffLimit", limit);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    let replacement = if has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "podReplacementPolicy", replacement);
    job_spec_defaults(spec);
    if !labels.is_empty() {
        set_zero(ensure(job, "metadata"), "labels", labels);
    }
}

/// What the job templates of cron jobs get, too.
pub(crate) fn job_spec_defaults(spec: &mut Value) {
    crate::pod::defaults::pod_template(ensure(spec, "template"));
    crate::defaults::within(spec, "podFailurePolicy", |p| {
        each(p, "rules", |r| {
            each(r, "onPodConditions", |c| set_zero(c, "status", "True"));
        });
    });
}

/// Unless the user selects pods by hand, the job's own uid does.
fn prepare_create(_context: &Context, job: &mut Value) {
    if job["spec"]["manualSelector"] == json!(true) {
        return;
    }
    let uid = text(&job["metadata"], "uid").to_owned();
    let name = text(&job["metadata"], "name").to_owned();
    let spec = ensure(job, "spec");
    let labels = ensure(ensure(ensure(spec, "template"), "metadata"), "labels");
    for key in LABELS {
        set(labels, key, if key.ends_with("uid") { uid.clone() } else { name.clone() });
    }
    let template_labels = labels.clone();
    let selector = ensure(ensure(spec, "selector"), "matchLabels");
    if selector.is_object() && !uid.is_empty() {
        set(selector, "batch.kubernetes.io/controller-uid", uid);
    }
    // The job carries the labels of its template when it has none of its own.
    let own = map_at(job, "metadata.labels");
    let without: Vec<_> = template_labels.as_object().into_iter().flatten().collect();
    if own.is_empty() || own.iter().all(|(k, v)| without.iter().any(|(a, b)| *a == k && *b == v)) {
        ensure(job, "metadata")["labels"] = template_labels;
    }
}
