//! What a Job's pods mean and what to do next. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods},
        core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use component_helpers::pods as helpers;
use controller_runtime::owner;
use kube::ResourceExt;

use super::{
    TRACKING,
    conditions::{self, COMPLETE, FAILED, FAILURE_TARGET, SUCCESS_CRITERIA_MET, SUSPENDED},
    indexes::{self, INDEX},
    is_tracked,
    policy::{self, Verdict},
};
use crate::pods;

/// No more pods than this are counted, created or deleted in one reconcile.
const BURST: usize = 500;
const BACKOFF: i64 = 10;
const MAX_BACKOFF: i64 = 600;
const INDEX_FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

/// An event about the job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) warning: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods whose finalizer goes after the status is written.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) events: Vec<Told>,
    pub(super) check_after: Option<i64>,
}

/// What the pods show.
struct Seen<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    pods: &'a [Arc<Pod>],
    active: Vec<Arc<Pod>>,
    terminating: i32,
    succeeded: i32,
    failed: i32,
    succeeded_indexes: BTreeSet<i32>,
    failed_indexes: BTreeSet<i32>,
    /// Why the pod failure policy ends the job.
    fatal: Option<String>,
    now: Timestamp,
}

/// Decides. `settled`: what was created and deleted before is visible in `pods`.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], settled: bool, now: Timestamp) -> Plan {
    let default = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&default);
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    let suspended = spec.suspend == Some(true);
    if plan.status.start_time.is_none() && !suspended {
        plan.status.start_time = Some(Time(now));
    }
    let seen = count(job, spec, pods, &mut plan, now);
    let target = outcome(&seen, &mut plan);
    if let Some((type_, reason, message)) = &target {
        conditions::set(&mut plan.status, type_, true, reason, message, now);
        plan.delete = seen.active.iter().take(BURST).cloned().collect();
    } else if job.metadata.deletion_timestamp.is_none() {
        manage(&seen, suspended, &mut plan);
    }
    if !settled {
        (plan.create, plan.delete) = (Vec::new(), Vec::new());
    }
    totals(&seen, &mut plan);
    if let Some((type_, reason, message)) = target {
        finish(&seen, type_, &reason, &message, &mut plan);
    }
    plan
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// A failed pod, or one that is being deleted and will not be waited for.
fn has_failed(spec: &JobSpec, pod: &Pod) -> bool {
    let phase = helpers::phase(pod);
    let only_failed = spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some();
    phase == "Failed" || (phase != "Succeeded" && pod.metadata.deletion_timestamp.is_some() && !only_failed)
}

/// Counts pods; moves uids through `uncountedTerminatedPods`.
fn count<'a>(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>], plan: &mut Plan, now: Timestamp) -> Seen<'a> {
    let completions = spec.completions.unwrap_or(i32::MAX);
    let mut seen = Seen {
        job,
        spec,
        pods,
        active: pods.iter().filter(|pod| helpers::is_active(pod)).cloned().collect(),
        terminating: 0,
        succeeded: 0,
        failed: 0,
        succeeded_indexes: indexes::parse(plan.status.completed_indexes.as_deref(), completions),
        failed_indexes: indexes::parse(plan.status.failed_indexes.as_deref(), completions),
        fatal: None,
        now,
    };
    let leaving = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !helpers::is_terminal(pod);
    seen.terminating = number(pods.iter().filter(leaving).count());
    flush(pods, &mut plan.status, is_indexed(spec));
    let mut uncounted = plan.status.uncounted_terminated_pods.clone().unwrap_or_default();
    for pod in pods.iter().filter(|pod| is_tracked(pod)) {
        if plan.release.len() >= BURST {
            break;
        }
        count_one(&mut seen, pod, &mut uncounted, plan);
    }
    let len = |uids: &Option<Vec<String>>| number(uids.as_ref().map_or(0, Vec::len));
    seen.failed = plan.status.failed.unwrap_or_default() + len(&uncounted.failed);
    seen.succeeded = if is_indexed(spec) {
        number(seen.succeeded_indexes.len())
    } else {
        plan.status.succeeded.unwrap_or_default() + len(&uncounted.succeeded)
    };
    plan.status.uncounted_terminated_pods = Some(uncounted);
    seen
}

/// Turns uids whose pods lost the finalizer into numbers.
fn flush(pods: &[Arc<Pod>], status: &mut JobStatus, indexed: bool) {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return };
    let tracked: BTreeSet<_> = pods.iter().filter(|pod| is_tracked(pod)).filter_map(|pod| pod.uid()).collect();
    let take = |uids: &mut Option<Vec<String>>| {
        let all = uids.take().unwrap_or_default();
        let (left, done): (Vec<_>, Vec<_>) = all.into_iter().partition(|uid| tracked.contains(uid));
        *uids = (!left.is_empty()).then_some(left);
        number(done.len())
    };
    let (succeeded, failed) = (take(&mut uncounted.succeeded), take(&mut uncounted.failed));
    if succeeded > 0 && !indexed {
        status.succeeded = Some(status.succeeded.unwrap_or_default() + succeeded);
    }
    if failed > 0 {
        status.failed = Some(status.failed.unwrap_or_default() + failed);
    }
}

fn count_one(seen: &mut Seen<'_>, pod: &Arc<Pod>, uncounted: &mut UncountedTerminatedPods, plan: &mut Plan) {
    let uid = pod.uid().unwrap_or_default();
    let index = indexes::of(pod);
    let known = |uids: &Option<Vec<String>>| uids.iter().flatten().any(|known| *known == uid);
    if helpers::phase(pod) == "Succeeded" {
        let counts = match index {
            Some(index) if is_indexed(seen.spec) => {
                index < seen.spec.completions.unwrap_or_default() && seen.succeeded_indexes.insert(index)
            }
            _ => true,
        };
        if counts && !known(&uncounted.succeeded) {
            uncounted.succeeded.get_or_insert_default().push(uid);
        }
        plan.release.push(pod.clone());
    } else if has_failed(seen.spec, pod) {
        match policy::verdict(seen.job, pod) {
            Verdict::Ignore => return plan.release.push(pod.clone()),
            Verdict::FailJob(why) => seen.fatal = seen.fatal.take().or(Some(why)),
            Verdict::FailIndex => seen.failed_indexes.extend(index),
            Verdict::Count => {}
        }
        if !known(&uncounted.failed) {
            uncounted.failed.get_or_insert_default().push(uid);
        }
        plan.release.push(pod.clone());
    } else if conditions::is_finished(&plan.status) {
        plan.release.push(pod.clone());
    }
}

type Target = (&'static str, String, String);

/// Whether the job has succeeded or failed, and why; decided once.
fn outcome(seen: &Seen<'_>, plan: &mut Plan) -> Option<Target> {
    for type_ in [FAILURE_TARGET, SUCCESS_CRITERIA_MET] {
        if let Some(known) = conditions::find(&plan.status, type_) {
            let text = |t: &Option<String>| t.clone().unwrap_or_default();
            return Some((type_, text(&known.reason), text(&known.message)));
        }
    }
    let failure = |reason: &str, message: &str| Some((FAILURE_TARGET, reason.to_owned(), message.to_owned()));
    if let Some(why) = &seen.fatal {
        return failure("PodFailurePolicy", why);
    }
    let limit = seen.spec.backoff_limit.unwrap_or(6);
    if seen.failed > limit || (restarts_on_failure(seen) && limit_reached_by_restarts(seen, limit)) {
        return failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if let Some(left) = deadline(seen, plan) {
        if left <= 0 {
            return failure("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        plan.check_after = Some(left);
    }
    if is_indexed(seen.spec)
        && let Some(target) = indexed_outcome(seen)
    {
        return Some(target);
    }
    let complete = match seen.spec.completions {
        // A work queue: one success says that the queue is empty; then the rest may finish.
        None => seen.succeeded > 0 && seen.active.is_empty(),
        Some(completions) => seen.succeeded >= completions,
    };
    complete.then(|| {
        (SUCCESS_CRITERIA_MET, "CompletionsReached".to_owned(), "Reached expected number of succeeded pods".to_owned())
    })
}

fn indexed_outcome(seen: &Seen<'_>) -> Option<Target> {
    if let Some(message) = policy::success(seen.job, &seen.succeeded_indexes) {
        return Some((SUCCESS_CRITERIA_MET, "SuccessPolicy".to_owned(), message));
    }
    let failed = failed_indexes(seen);
    if seen.spec.max_failed_indexes.is_some_and(|max| number(failed.len()) > max) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some((FAILURE_TARGET, "MaxFailedIndexesExceeded".to_owned(), message.to_owned()));
    }
    let over = number(failed.len() + seen.succeeded_indexes.len()) >= seen.spec.completions.unwrap_or(i32::MAX);
    (!failed.is_empty() && over)
        .then(|| (FAILURE_TARGET, "FailedIndexes".to_owned(), "Job has failed indexes".to_owned()))
}

fn restarts_on_failure(seen: &Seen<'_>) -> bool {
    let spec = seen.spec.template.spec.as_ref();
    spec.and_then(|s| s.restart_policy.as_deref()) == Some("OnFailure")
}

/// Container restarts count against the limit, too, where the kubelet restarts.
fn limit_reached_by_restarts(seen: &Seen<'_>, limit: i32) -> bool {
    let restarts = |pod: &Pod| {
        let status = pod.status.as_ref();
        let all = status.map(|s| s.container_statuses.iter().chain(&s.init_container_statuses).flatten());
        all.map_or(0, |all| all.map(|c| c.restart_count).sum::<i32>())
    };
    let running = seen.active.iter().filter(|pod| matches!(helpers::phase(pod), "Running" | "Pending"));
    let total: i32 = running.map(|pod| restarts(pod)).sum();
    if limit == 0 { total > 0 } else { total >= limit }
}

/// Seconds left of the active deadline.
fn deadline(seen: &Seen<'_>, plan: &Plan) -> Option<i64> {
    let allowed = seen.spec.active_deadline_seconds?;
    if seen.spec.suspend == Some(true) {
        return None;
    }
    let started = plan.status.start_time.as_ref()?.0;
    Some(allowed - (seen.now.as_second() - started.as_second()))
}

/// Failed pods of an index, from the pods that are left and what replacements carry on.
fn index_failures(seen: &Seen<'_>) -> BTreeMap<i32, i32> {
    let mut failures = BTreeMap::new();
    for pod in seen.pods {
        let Some(index) = indexes::of(pod) else { continue };
        let before = pod.annotations().get(INDEX_FAILURES).and_then(|n| n.parse::<i32>().ok()).unwrap_or_default();
        let counts = has_failed(seen.spec, pod) && policy::verdict(seen.job, pod) != Verdict::Ignore;
        let entry = failures.entry(index).or_insert(0);
        *entry = before.saturating_add(i32::from(counts)).max(*entry);
    }
    failures
}

fn failed_indexes(seen: &Seen<'_>) -> BTreeSet<i32> {
    let mut failed = seen.failed_indexes.clone();
    if let Some(limit) = seen.spec.backoff_limit_per_index {
        failed.extend(index_failures(seen).into_iter().filter(|(_, n)| *n > limit).map(|(index, _)| index));
    }
    failed.retain(|index| !seen.succeeded_indexes.contains(index));
    failed
}

/// Starts and stops pods.
fn manage(seen: &Seen<'_>, suspended: bool, plan: &mut Plan) {
    let now = seen.now;
    if suspended {
        plan.delete = seen.active.iter().take(BURST).cloned().collect();
        if conditions::set(&mut plan.status, SUSPENDED, true, "JobSuspended", "Job suspended", now) {
            plan.events.push(Told { warning: false, reason: "Suspended".into(), message: "Job suspended".into() });
        }
        return;
    }
    if conditions::set(&mut plan.status, SUSPENDED, false, "JobResumed", "Job resumed", now) {
        plan.events.push(Told { warning: false, reason: "Resumed".into(), message: "Job resumed".into() });
        plan.status.start_time = Some(Time(now));
    }
    let parallelism = seen.spec.parallelism.unwrap_or(1);
    let active = number(seen.active.len());
    let wanted = match seen.spec.completions {
        None if seen.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => {
            (completions - seen.succeeded - number(failed_indexes(seen).len())).clamp(0, parallelism.max(0))
        }
    };
    plan.delete = superfluous(seen, wanted);
    let kept = active - number(plan.delete.len());
    let waits_for = if seen.spec.pod_replacement_policy.as_deref() == Some("Failed") { seen.terminating } else { 0 };
    let missing = usize::try_from(wanted - kept - waits_for).unwrap_or_default().min(BURST);
    if missing == 0 {
        return;
    }
    match backoff(seen) {
        Some(left) => plan.check_after = Some(plan.check_after.map_or(left, |other| other.min(left))),
        None => plan.create = new_pods(seen, missing, &plan.delete),
    }
}

/// Active pods beyond the wanted number; of indexed ones first the double and those out of range.
fn superfluous(seen: &Seen<'_>, wanted: i32) -> Vec<Arc<Pod>> {
    let (mut delete, mut kept, mut taken) = (Vec::new(), Vec::new(), BTreeSet::new());
    for pod in &seen.active {
        let index = indexes::of(pod);
        let in_range = index.is_none_or(|index| index < seen.spec.completions.unwrap_or(i32::MAX));
        let done = index.is_some_and(|index| seen.succeeded_indexes.contains(&index));
        let fits = !is_indexed(seen.spec) || (in_range && !done && taken.insert(index));
        if fits { kept.push(pod.clone()) } else { delete.push(pod.clone()) }
    }
    kept.sort_by_key(|pod| {
        (
            helpers::node_name(pod).is_some(),
            helpers::is_ready(pod),
            pod.creation_timestamp().map(|t| std::cmp::Reverse(t.0)),
        )
    });
    let excess = kept.len().saturating_sub(usize::try_from(wanted).unwrap_or_default());
    delete.extend(kept.into_iter().take(excess));
    delete.truncate(BURST);
    delete
}

/// Seconds until the next pod may start: doubled with each failure since the last success.
fn backoff(seen: &Seen<'_>) -> Option<i64> {
    let succeeded =
        seen.pods.iter().filter(|pod| helpers::phase(pod) == "Succeeded").filter_map(|p| finished_at(p)).max();
    let counts = |pod: &&Arc<Pod>| has_failed(seen.spec, pod) && policy::verdict(seen.job, pod) != Verdict::Ignore;
    let failures: Vec<_> =
        seen.pods.iter().filter(counts).filter_map(|pod| finished_at(pod)).filter(|at| Some(*at) > succeeded).collect();
    let last = failures.iter().max()?;
    let exponent = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let delay = (BACKOFF << exponent).min(MAX_BACKOFF);
    let left = delay - (seen.now.as_second() - last);
    (left > 0).then_some(left)
}

/// When a pod's last container ended, else when it was deleted or created, in seconds.
fn finished_at(pod: &Pod) -> Option<i64> {
    let status = pod.status.as_ref();
    let statuses = status.and_then(|s| s.container_statuses.as_ref()).into_iter().flatten();
    let ended = statuses.filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()).map(|t| t.0).max();
    let other = || pod.metadata.deletion_timestamp.as_ref().or(pod.metadata.creation_timestamp.as_ref()).map(|t| t.0);
    ended.or_else(other).map(Timestamp::as_second)
}

fn new_pods(seen: &Seen<'_>, missing: usize, leaving: &[Arc<Pod>]) -> Vec<Pod> {
    let namespace = seen.job.namespace().unwrap_or_default();
    let mut template = pods::from_template(&seen.spec.template, &owner::controller_ref(seen.job), &namespace);
    template.finalizers_mut().push(TRACKING.to_owned());
    if !is_indexed(seen.spec) {
        return vec![template; missing];
    }
    let gone = |pod: &Arc<Pod>| leaving.iter().any(|l| l.metadata.uid == pod.metadata.uid);
    let taken: BTreeSet<_> = seen.active.iter().filter(|pod| !gone(pod)).filter_map(|pod| indexes::of(pod)).collect();
    let (failed, failures) = (failed_indexes(seen), index_failures(seen));
    let free =
        |index: &i32| !taken.contains(index) && !seen.succeeded_indexes.contains(index) && !failed.contains(index);
    let indexes = (0..seen.spec.completions.unwrap_or_default()).filter(free).take(missing);
    let per_index = seen.spec.backoff_limit_per_index.is_some();
    indexes
        .map(|i| indexed_pod(seen.job, &template, i, per_index.then(|| failures.get(&i).copied().unwrap_or_default())))
        .collect()
}

fn indexed_pod(job: &Job, template: &Pod, index: i32, failures: Option<i32>) -> Pod {
    let mut pod = template.clone();
    pod.metadata.generate_name = Some(format!("{}-{index}-", job.name_any()));
    pod.annotations_mut().insert(INDEX.to_owned(), index.to_string());
    pod.labels_mut().insert(INDEX.to_owned(), index.to_string());
    if let Some(failures) = failures {
        pod.annotations_mut().insert(INDEX_FAILURES.to_owned(), failures.to_string());
    }
    let source = EnvVarSource {
        field_ref: Some(ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") }),
        ..EnvVarSource::default()
    };
    let env = EnvVar { name: INDEX_ENV.to_owned(), value: None, value_from: Some(source) };
    if let Some(spec) = &mut pod.spec {
        spec.hostname = Some(format!("{}-{index}", job.name_any()));
        let init = spec.init_containers.iter_mut().flatten();
        for container in spec.containers.iter_mut().chain(init) {
            let all = container.env.get_or_insert_default();
            if !all.iter().any(|e| e.name == INDEX_ENV) {
                all.push(env.clone());
            }
        }
    }
    pod
}

/// The counts of the status, as they are when the plan is done.
fn totals(seen: &Seen<'_>, plan: &mut Plan) {
    let deleted = number(plan.delete.len());
    let some = |n: i32| (n > 0).then_some(n);
    let status = &mut plan.status;
    status.active = some(number(seen.active.len()) - deleted + number(plan.create.len()));
    status.terminating = Some(seen.terminating + deleted);
    let gone = |pod: &Arc<Pod>| plan.delete.iter().any(|d| d.metadata.uid == pod.metadata.uid);
    status.ready = Some(number(seen.active.iter().filter(|pod| helpers::is_ready(pod) && !gone(pod)).count()));
    if is_indexed(seen.spec) {
        status.succeeded = some(seen.succeeded);
        let text = indexes::format(&seen.succeeded_indexes);
        status.completed_indexes = (!text.is_empty()).then_some(text);
        if seen.spec.backoff_limit_per_index.is_some() {
            status.failed_indexes = Some(indexes::format(&failed_indexes(seen)));
        }
    }
}

/// Ends the job when every pod has ended and was counted.
fn finish(seen: &Seen<'_>, target: &str, reason: &str, message: &str, plan: &mut Plan) {
    let uncounted = plan.status.uncounted_terminated_pods.as_ref();
    let counted = uncounted.is_none_or(|u| u.succeeded.is_none() && u.failed.is_none());
    if !counted || !seen.active.is_empty() || seen.terminating > 0 || !plan.release.is_empty() {
        return;
    }
    plan.check_after = None;
    let now = seen.now;
    if target == FAILURE_TARGET {
        if conditions::set(&mut plan.status, FAILED, true, reason, message, now) {
            plan.events.push(Told { warning: true, reason: reason.to_owned(), message: message.to_owned() });
        }
    } else if conditions::set(&mut plan.status, COMPLETE, true, reason, message, now) {
        plan.status.completion_time = Some(Time(now));
        plan.events.push(Told { warning: false, reason: "Completed".into(), message: "Job completed".into() });
    }
}

fn number(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
