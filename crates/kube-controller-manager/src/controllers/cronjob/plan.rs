//! What a CronJob has to do now. Pure.

use std::sync::Arc;

use api_types::k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use controller_runtime::owner;
use kube::{Resource, ResourceExt};

use super::schedule::Schedule;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are worth a warning.
const MANY_MISSED: usize = 100;

/// An event about the cron job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    pub(super) create: Option<Job>,
    pub(super) delete: Vec<Arc<Job>>,
    pub(super) events: Vec<Told>,
    /// The next scheduled time.
    pub(super) next: Option<Timestamp>,
}

impl Plan {
    fn tell(&mut self, warning: bool, reason: &'static str, message: String) {
        self.events.push(Told { warning, reason, message });
    }
}

fn end(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True");
    ended.map(|c| c.type_.as_str())
}

/// Decides. `jobs` are those that the cron job controls.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let spec = &cron.spec;
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    take_stock(jobs, &mut plan);
    clean_up(spec, jobs, &mut plan);
    if cron.metadata.deletion_timestamp.is_some() || spec.suspend == Some(true) {
        return plan;
    }
    match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
        Err(error) => {
            plan.tell(true, "UnparseableSchedule", format!("unparseable schedule: {:?} : {error}", spec.schedule))
        }
        Ok(schedule) => {
            plan.next = schedule.next(now);
            start(cron, spec, jobs, &schedule, now, &mut plan);
        }
    }
    plan
}

/// Takes ended and lost jobs off the list of active ones.
fn take_stock(jobs: &[Arc<Job>], plan: &mut Plan) {
    let mut active = plan.status.active.take().unwrap_or_default();
    for job in jobs {
        let listed = active.iter().position(|a| a.uid == job.metadata.uid);
        match (listed, end(job)) {
            (Some(index), Some(how)) => {
                active.remove(index);
                plan.tell(false, "SawCompletedJob", format!("Saw completed job: {}, condition: {how}", job.name_any()));
                let at = job.status.as_ref().and_then(|s| s.completion_time.clone());
                if how == "Complete" && at > plan.status.last_successful_time {
                    plan.status.last_successful_time = at;
                }
            }
            // Created by us, but the status was not written.
            (None, None) if job.metadata.deletion_timestamp.is_none() => active.push(reference(job)),
            _ => {}
        }
    }
    active.retain(|a| {
        let there = jobs.iter().any(|job| job.metadata.uid == a.uid);
        if !there {
            let name = a.name.as_deref().unwrap_or_default();
            plan.events.push(Told {
                warning: false,
                reason: "MissingJob",
                message: format!("Active job went missing: {name}"),
            });
        }
        there
    });
    plan.status.active = (!active.is_empty()).then_some(active);
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference { resource_version: job.resource_version(), ..job.object_ref(&()) }
}

/// The oldest ended jobs beyond the history limits.
fn clean_up(spec: &CronJobSpec, jobs: &[Arc<Job>], plan: &mut Plan) {
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    for (how, limit) in limits {
        let Some(limit) = limit else { continue };
        let mut ended: Vec<_> = jobs.iter().filter(|job| end(job) == Some(how)).cloned().collect();
        ended.sort_by_key(|job| (job.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0), job.name_any()));
        let excess = ended.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        plan.delete.extend(ended.into_iter().take(excess));
    }
}

fn start(cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>], schedule: &Schedule, now: Timestamp, plan: &mut Plan) {
    let Some(due) = last_due(cron, spec, schedule, now, plan) else { return };
    let name = job_name(cron, due);
    let active = plan.status.active.clone().unwrap_or_default();
    if jobs.iter().any(|job| job.name_any() == name) {
        // Made before; the status just does not say so yet.
        plan.status.last_schedule_time = Some(Time(due));
        return;
    }
    if !active.is_empty() {
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                return plan.tell(false, "JobAlreadyActive", message.to_owned());
            }
            Some("Replace") => {
                let running = jobs.iter().filter(|job| active.iter().any(|a| a.uid == job.metadata.uid));
                plan.delete.extend(running.cloned());
                plan.status.active = None;
            }
            _ => {}
        }
    }
    plan.create = Some(job(cron, spec, name, due));
    plan.status.last_schedule_time = Some(Time(due));
}

/// The newest scheduled time that has not been started, if it is not too late for it.
fn last_due(
    cron: &CronJob,
    spec: &CronJobSpec,
    schedule: &Schedule,
    now: Timestamp,
    plan: &mut Plan,
) -> Option<Timestamp> {
    let last = cron.status.as_ref().and_then(|s| s.last_schedule_time.as_ref()).map(|t| t.0);
    let mut earliest = last.or(cron.creation_timestamp().map(|t| t.0)).unwrap_or(now);
    let deadline = spec.starting_deadline_seconds;
    if let Some(seconds) = deadline {
        let limit = Timestamp::from_second(now.as_second().saturating_sub(seconds)).unwrap_or(earliest);
        earliest = earliest.max(limit);
    }
    let (mut due, mut missed, mut time) = (None, 0, earliest);
    while let Some(next) = schedule.next(time).filter(|next| *next <= now) {
        (due, time) = (Some(next), next);
        missed += 1;
    }
    if missed > MANY_MISSED && deadline.is_none() {
        let message = format!(
            "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        );
        plan.tell(true, "TooManyMissedTimes", message);
    }
    due
}

/// Named by the scheduled minute: a second attempt finds the first one's job.
fn job_name(cron: &CronJob, due: Timestamp) -> String {
    format!("{}-{}", cron.name_any(), due.as_second() / 60)
}

fn job(cron: &CronJob, spec: &CronJobSpec, name: String, due: Timestamp) -> Job {
    let template = &spec.job_template;
    let meta = template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED.to_owned(), due.to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: cron.namespace(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner::controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The status with a job that was just created.
pub(super) fn with_active(mut status: CronJobStatus, job: &Job) -> CronJobStatus {
    status.active.get_or_insert_default().push(reference(job));
    status
}
