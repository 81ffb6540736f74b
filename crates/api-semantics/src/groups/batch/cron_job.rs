//! CronJob: jobs on a schedule.

use serde_json::Value;

use crate::checks::{non_negative, required_one_of};
use crate::defaults::{ensure, set, set_zero};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    default,
    validate,
    validate_create,
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.jobTemplate.spec.template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(cron: &mut Value) {
    ensure(cron, "status");
    let spec = ensure(cron, "spec");
    set(spec, "schedule", "");
    set_zero(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    let template = ensure(spec, "jobTemplate");
    ensure(template, "metadata");
    super::job_spec_defaults(ensure(template, "spec"));
}

fn validate(cron: &Field, errors: &mut Errors) {
    let spec = cron.get("spec");
    let schedule = spec.get("schedule");
    if schedule.str().is_empty() {
        errors.required(&schedule, "");
    } else {
        super::schedule::validate(&schedule, spec.has("timeZone"), errors);
    }
    non_negative(&spec.get("startingDeadlineSeconds"), errors);
    let policy = spec.get("concurrencyPolicy");
    required_one_of(&policy, &["Allow", "Forbid", "Replace"], errors);
    job_template(&spec.get("jobTemplate"), errors);
    non_negative(&spec.get("successfulJobsHistoryLimit"), errors);
    non_negative(&spec.get("failedJobsHistoryLimit"), errors);
    let zone = spec.get("timeZone");
    if zone.exists() {
        super::schedule::time_zone(&zone, errors);
    }
}

fn job_template(template: &Field, errors: &mut Errors) {
    let spec = template.get("spec");
    super::job_validation::spec(&spec, errors);
    if spec.has("selector") {
        errors.invalid(&spec.get("selector"), "`selector` will be auto-generated");
    }
    let manual = spec.get("manualSelector");
    if manual.bool() {
        errors.not_supported(&manual, &["nil", "false"]);
    }
}

/// Jobs get a timestamp appended to the name.
fn validate_create(cron: &Field, errors: &mut Errors) {
    let name = cron.get("metadata").get("name");
    if name.len() > 52 {
        errors.invalid(&name, "must be no more than 52 characters");
    }
}
