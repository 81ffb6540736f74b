//! Job: pods that run to completion.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, has, map_at, set, set_zero, text};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::strategy::Context;
use crate::{names, selectors};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    default,
    prepare_create,
    validate,
    validate_create,
    validate_change,
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.template", w),
    validated_twice: true,
    ..Kind::PLAIN
};

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
    let before = labels.clone();
    for key in LABELS {
        set(labels, key, if key.ends_with("uid") { uid.clone() } else { name.clone() });
    }
    let template_labels = labels.clone();
    let selector = ensure(ensure(spec, "selector"), "matchLabels");
    if selector.is_object() && !uid.is_empty() {
        set(selector, "batch.kubernetes.io/controller-uid", uid);
    }
    // Labels that were defaulted from the template's follow it (in upstream they are one map).
    let shared = map_at(job, "metadata.labels");
    if !shared.is_empty() && Some(&shared) == before.as_object() {
        ensure(job, "metadata")["labels"] = template_labels;
    }
}

fn validate(job: &Field, errors: &mut Errors) {
    let spec = job.get("spec");
    super::job_validation::spec(&spec, errors);
    let selector = spec.get("selector");
    if selector.exists() {
        selectors::validate(&selector, errors);
    } else {
        errors.required(&selector, "");
    }
    let labels = spec.dig("template.metadata.labels");
    let matched = selector.exists() && selectors::matches(&selector, &labels);
    if selectors::is_valid(&selector) && !matched {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
    generated_labels(job, errors);
}

/// Without a selector of the user's, the labels must be those that the server made.
fn generated_labels(job: &Field, errors: &mut Errors) {
    let spec = job.get("spec");
    if spec.bool_of("manualSelector") {
        return;
    }
    let labels = spec.dig("template.metadata.labels");
    let (uid, name) = (job.get("metadata").str_of("uid"), job.get("metadata").str_of("name"));
    let wanted = [(LABELS[0], uid), (LABELS[1], uid), (LABELS[2], name), (LABELS[3], name)];
    let selector_uid = spec.dig("selector.matchLabels").entry(LABELS[1]);
    if !spec.has("selector") || selector_uid.str() != uid {
        return;
    }
    for (key, value) in wanted {
        if labels.entry(key).str() != value {
            errors.invalid_as(&labels, labels.value(), format!("must be '{value}'"));
        }
    }
}

fn validate_create(job: &Field, errors: &mut Errors) {
    let spec = job.get("spec");
    if spec.str_of("completionMode") != "Indexed" {
        return;
    }
    let count = spec.get("completions").int_or_zero();
    if count > 0 {
        let name = job.get("metadata").get("name");
        let last = format!("{}-{}", name.str(), count - 1);
        if !names::dns1123_label(&last).is_empty() {
            errors.invalid_str(&name, format!("will not able to create pod with invalid DNS label: {last}"));
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    super::job_validation::change(new, old, errors);
}
