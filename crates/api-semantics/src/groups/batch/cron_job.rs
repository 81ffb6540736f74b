//! CronJob: jobs on a schedule.

use serde_json::Value;

use crate::defaults::{ensure, set, set_zero};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind = Kind { generation: true, initial_status: Some(empty_status), default, ..Kind::PLAIN };

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
