//! Deletes finished Jobs `ttlSecondsAfterFinished` after their end.

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Preconditions, PropagationPolicy},
};

use crate::context::Context;

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let jobs = context.informer::<Job>();
    jobs.enqueue_to(&queue);
    let (store, client) = (Arc::new(jobs.store().clone()), context.client.clone());
    context.run(&queue, move |key| reconcile(client.clone(), store.clone(), key));
    Ok(())
}

/// Seconds until the job has to go; none when it need not.
fn left(job: &Job, now: Timestamp) -> Option<i64> {
    let ttl = i64::from(job.spec.as_ref()?.ttl_seconds_after_finished?);
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    let end = end.last_transition_time.as_ref()?.0;
    Some(end.as_second() + ttl - now.as_second())
}

async fn reconcile(client: Client, jobs: Arc<Store<Job>>, key: ObjectKey) -> Outcome {
    let Some(job) = jobs.get(&key) else { return Ok(Action::Done) };
    match left(&job, component_base::clock::now()) {
        None => Ok(Action::Done),
        Some(seconds) if seconds > 0 => Ok(Action::RequeueAfter(Duration::from_secs(seconds.unsigned_abs()))),
        Some(_) => {
            let params = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                // Not a job whose time was prolonged meanwhile.
                preconditions: Some(Preconditions { uid: job.uid(), resource_version: job.resource_version() }),
                ..DeleteParams::default()
            };
            match Api::<Job>::namespaced(client, &key.namespace).delete(&key.name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Done),
                result => result.map(|_| Action::Done).map_err(Into::into),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_counts_from_the_end() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let done = json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        for (ttl, conditions, want) in [
            (Some(100), &done, Some(40)),
            (Some(0), &done, Some(-60)),
            (None, &done, None),
            (Some(5), &json!([]), None),
        ] {
            let job = serde_json::from_value(json!({
                "spec": {"ttlSecondsAfterFinished": ttl, "template": {}}, "status": {"conditions": conditions}}));
            assert_eq!(left(&job.unwrap(), now), want, "{ttl:?}");
        }
    }
}
