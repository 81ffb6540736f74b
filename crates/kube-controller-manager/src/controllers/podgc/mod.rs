//! Removes pods that nobody else will: of nodes that are gone, terminated ones beyond a threshold, deleted ones that were never
//! scheduled, and deleted ones on nodes marked out of service.

mod plan;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_types::k8s_openapi::{
    api::core::v1::{Node, Pod},
    jiff::Timestamp,
};
use component_helpers::conditions;
use controller_runtime::{BoxError, ObjectKey, Store};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};

use crate::{context::Context, pods};

/// How often pods are looked at.
const PERIOD: Duration = Duration::from_secs(20);

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let informer = pods::indexed(context.informer::<Pod>());
    let nodes = context.informer::<Node>();
    let collector = Arc::new(Collector {
        client: context.client.clone(),
        pods: informer.store().clone(),
        nodes: nodes.store().clone(),
        threshold: context.shared.config.terminated_pod_threshold,
    });
    context.spawn(async move {
        let mut missing = BTreeMap::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            if let Err(error) = collector.collect(&mut missing).await {
                tracing::warn!(%error, "pod collection failed");
            }
        }
    });
    Ok(())
}

struct Collector {
    client: Client,
    pods: Store<Pod>,
    nodes: Store<Node>,
    threshold: usize,
}

impl Collector {
    async fn collect(&self, missing: &mut BTreeMap<String, Timestamp>) -> Result<(), BoxError> {
        let (all, now) = (self.pods.list(), component_base::clock::now());
        let known = |name: &str| self.nodes.get(&ObjectKey::cluster(name)).is_some();
        for name in plan::gone_nodes(&all, known, missing, now) {
            // The store may lag behind; only the API server's word counts.
            if Api::<Node>::all(self.client.clone()).get_metadata_opt(&name).await?.is_some() {
                continue;
            }
            for pod in self.pods.by_index(pods::BY_NODE, &name) {
                self.remove(&pod, Some("PodGC: node no longer exists")).await?;
            }
        }
        for pod in plan::terminated(&all, self.threshold).into_iter().chain(plan::unscheduled_terminating(&all)) {
            self.remove(&pod, None).await?;
        }
        let node = |name: &str| self.nodes.get(&ObjectKey::cluster(name));
        for pod in plan::out_of_service(&all, node) {
            self.remove(&pod, Some("PodGC: node is out of service")).await?;
        }
        Ok(())
    }

    /// Marks the pod as failed and disrupted (with a reason to tell), then removes it at once.
    async fn remove(&self, pod: &Pod, why: Option<&str>) -> Result<(), kube::Error> {
        let api = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        if let Some(why) = why {
            let mut status = pod.status.clone().unwrap_or_default();
            let condition = conditions::pod("DisruptionTarget", true, "DeletionByPodGC", why);
            conditions::set(&mut status.conditions, condition, component_base::clock::now());
            let phase =
                if component_helpers::pods::is_terminal(pod) { component_helpers::pods::phase(pod) } else { "Failed" };
            let patch = serde_json::json!({
                "metadata": {"uid": pod.uid()}, "status": {"phase": phase, "conditions": status.conditions}
            });
            match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
                result => drop(result?),
            }
        }
        tracing::info!(pod = %ObjectKey::of(pod), "removing a pod that nobody else will remove");
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}
