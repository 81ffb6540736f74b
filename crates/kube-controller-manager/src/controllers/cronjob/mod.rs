//! Creates Jobs on a schedule.

mod plan;
mod schedule;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::batch::v1::{CronJob, Job};
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use self::plan::Plan;
use crate::{context::Context, pods};

/// A little after the time, so that it has certainly come.
const AFTER: Duration = Duration::from_millis(100);

struct CronJobs {
    client: Client,
    recorder: EventRecorder,
    crons: Store<CronJob>,
    jobs: Store<Job>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let crons = context.informer::<CronJob>();
    let jobs = context.informer::<Job>().index(pods::BY_CONTROLLER, pods::by_controller::<Job>);
    crons.enqueue_to(&queue);
    let on_job = queue.clone();
    jobs.on_event(move |event| {
        if let Some((key, _)) = pods::parent_key(&event.object().metadata, "CronJob") {
            on_job.add(key);
        }
    });
    let controller = Arc::new(CronJobs {
        client: context.client.clone(),
        recorder: context.recorder("cronjob-controller"),
        crons: crons.store().clone(),
        jobs: jobs.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

impl CronJobs {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(cron) = self.crons.get(&key) else { return Ok(Action::Done) };
        let jobs = self.jobs.by_index(pods::BY_CONTROLLER, &cron.uid().unwrap_or_default());
        let now = component_base::clock::now();
        let plan = plan::plan(&cron, &jobs, now);
        let next = plan.next;
        self.apply(&cron, plan).await?;
        let wait = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default() + AFTER);
        Ok(wait.map_or(Action::Done, Action::RequeueAfter))
    }

    async fn apply(&self, cron: &CronJob, plan: Plan) -> Result<(), BoxError> {
        let namespace = cron.namespace().unwrap_or_default();
        let jobs = Api::<Job>::namespaced(self.client.clone(), &namespace);
        for told in plan.events {
            if told.warning {
                self.recorder.warning(cron, told.reason, told.message);
            } else {
                self.recorder.normal(cron, told.reason, told.message);
            }
        }
        for job in &plan.delete {
            self.delete(cron, &jobs, job).await?;
        }
        let mut status = plan.status;
        if let Some(job) = &plan.create {
            match jobs.create(&PostParams::default(), job).await {
                Ok(created) => {
                    self.recorder.normal(cron, "SuccessfulCreate", format!("Created job {}", created.name_any()));
                    status = plan::with_active(status, &created);
                }
                // Created by an attempt that ended before the status was written.
                Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {}
                Err(error) if pods::is_namespace_terminating(&error) => return Ok(()),
                Err(error) => {
                    self.recorder.warning(
                        cron,
                        "FailedCreate",
                        format!("Error creating job: {}", pods::message(&error)),
                    );
                    return Err(error.into());
                }
            }
        }
        if cron.status.as_ref() != Some(&status) {
            let updated = CronJob { status: Some(status), ..cron.clone() };
            let api = Api::<CronJob>::namespaced(self.client.clone(), &namespace);
            api.replace_status(&cron.name_any(), &PostParams::default(), &updated).await?;
        }
        Ok(())
    }

    async fn delete(&self, cron: &CronJob, jobs: &Api<Job>, job: &Job) -> Result<(), kube::Error> {
        let name = job.name_any();
        let preconditions = Preconditions { uid: job.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match jobs.delete(&name, &params).await {
            Ok(_) => {
                self.recorder.normal(cron, "SuccessfulDelete", format!("Deleted job {name}"));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => {
                self.recorder.warning(cron, "FailedDelete", format!("Deleted job: {}", pods::message(&error)));
                Err(error)
            }
        }
    }
}
