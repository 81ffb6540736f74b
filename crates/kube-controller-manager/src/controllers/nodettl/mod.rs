//! Tells kubelets by an annotation how long they may keep Secrets and ConfigMaps without asking: the larger the cluster, the longer.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::Node;
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::context::Context;

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// Nodes up to which a time in seconds is good.
const STEPS: &[(usize, u32)] = &[(100, 0), (500, 15), (1000, 30), (2000, 60)];
const LARGEST: u32 = 300;

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let nodes = context.informer::<Node>();
    let (all, on_node) = (nodes.store().clone(), queue.clone());
    nodes.on_event(move |event| {
        on_node.add(ObjectKey::of(event.object().as_ref()));
        if event.old().is_none() && STEPS.iter().any(|(size, _)| all.len() == size + 1) {
            all.keys().into_iter().for_each(|key| on_node.add(key));
        }
    });
    let (store, client) = (Arc::new(nodes.store().clone()), context.client.clone());
    context.run(&queue, move |key| reconcile(client.clone(), store.clone(), key));
    Ok(())
}

fn ttl(nodes: usize) -> u32 {
    STEPS.iter().find(|(size, _)| nodes <= *size).map_or(LARGEST, |(_, seconds)| *seconds)
}

async fn reconcile(client: Client, nodes: Arc<Store<Node>>, key: ObjectKey) -> Outcome {
    let Some(node) = nodes.get(&key) else { return Ok(Action::Done) };
    let wanted = ttl(nodes.len()).to_string();
    if node.annotations().get(ANNOTATION) == Some(&wanted) {
        return Ok(Action::Done);
    }
    let patch = serde_json::json!({"metadata": {"annotations": {ANNOTATION: wanted}}});
    match Api::<Node>::all(client).patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Done),
        result => result.map(|_| Action::Done).map_err(Into::into),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn larger_clusters_ask_less() {
        for (nodes, want) in [(1, 0), (100, 0), (101, 15), (1000, 30), (1001, 60), (5000, 300)] {
            assert_eq!(super::ttl(nodes), want, "{nodes} nodes");
        }
    }
}
