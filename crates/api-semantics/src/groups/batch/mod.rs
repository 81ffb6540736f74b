//! The group `batch`.

mod cron_job;
mod job;
mod job_validation;
mod schedule;

pub(crate) use job::job_spec_defaults;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] =
    &[("CronJob", None, &cron_job::KIND), ("Job", None, &job::KIND)];
