//! Keeps the status of PodDisruptionBudgets: how many pods may be disrupted now.

mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{Pod, ReplicationController},
    policy::v1::PodDisruptionBudget,
};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue, owner};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::{context::Context, pods};

struct Budgets {
    client: Client,
    recorder: EventRecorder,
    budgets: Store<PodDisruptionBudget>,
    pods: Store<Pod>,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    stateful: Store<StatefulSet>,
    controllers: Store<ReplicationController>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let budgets = context.informer::<PodDisruptionBudget>();
    let informer = pods::indexed(context.informer::<Pod>());
    budgets.enqueue_to(&queue);
    let (all, on_pod) = (budgets.store().clone(), queue.clone());
    informer.on_event(move |event| {
        let pod = event.object();
        for budget in all.list_in(&pod.namespace().unwrap_or_default()) {
            let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
            let selects = |pod: &Pod| labels::selects(selector, Some(pod.labels()));
            if selects(pod) || event.old().is_some_and(|old| selects(old)) {
                on_pod.add(ObjectKey::of(budget.as_ref()));
            }
        }
    });
    let controller = Arc::new(Budgets {
        client: context.client.clone(),
        recorder: context.recorder("controllermanager"),
        budgets: budgets.store().clone(),
        pods: informer.store().clone(),
        deployments: context.informer::<Deployment>().store().clone(),
        sets: context.informer::<ReplicaSet>().store().clone(),
        stateful: context.informer::<StatefulSet>().store().clone(),
        controllers: context.informer::<ReplicationController>().store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

impl Budgets {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(budget) = self.budgets.get(&key) else { return Ok(Action::Done) };
        let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
        let mut selected = self.pods.list_in(&key.namespace);
        selected.retain(|pod| labels::selects(selector, Some(pod.labels())));
        let plan = plan::plan(&budget, &selected, |pod| self.scale_of(pod), component_base::clock::now());
        if let Some(error) = &plan.failure {
            self.recorder.warning(budget.as_ref(), "CalculateExpectedPodCountFailed", error.as_str());
        }
        if budget.status.as_ref() != Some(&plan.status) {
            let updated = PodDisruptionBudget { status: Some(plan.status), ..budget.as_ref().clone() };
            let api = Api::<PodDisruptionBudget>::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &updated).await?;
        }
        Ok(plan.check_after.map_or(Action::Done, |s| Action::RequeueAfter(Duration::from_secs(s.unsigned_abs()))))
    }

    /// The uid of the controller that scales a pod, and how many it wants.
    fn scale_of(&self, pod: &Pod) -> Option<(String, i32)> {
        let namespace = pod.namespace().unwrap_or_default();
        let of = owner::controller_of(&pod.metadata)?;
        match of.kind.as_str() {
            "ReplicaSet" => {
                let set = self.sets.get_in(&namespace, &of.name)?;
                let above = owner::controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
                if let Some(deployment) = above.and_then(|owner| self.deployments.get_in(&namespace, &owner.name)) {
                    return Some((deployment.uid()?, deployment.spec.as_ref()?.replicas.unwrap_or(1)));
                }
                Some((set.uid()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                let set = self.stateful.get_in(&namespace, &of.name)?;
                Some((set.uid()?, set.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let controller = self.controllers.get_in(&namespace, &of.name)?;
                Some((controller.uid()?, controller.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}
