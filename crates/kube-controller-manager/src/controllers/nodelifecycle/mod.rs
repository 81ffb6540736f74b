//! Watches over nodes: a node whose kubelet is silent becomes Unknown, conditions become taints, and pods of nodes that are not ready are
//! marked not ready. What the NoExecute taints mean for pods is the taint-eviction controller's.

mod apply;
mod plan;
#[cfg(test)]
mod tests;
mod zones;

use api_types::k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use controller_runtime::{BoxError, Event, Selection, WorkQueue};

use crate::{context::Context, pods};

/// The namespace of the kubelets' leases.
const LEASES: &str = "kube-node-lease";

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let nodes = context.informer::<Node>();
    let leases = context.informer_in::<Lease>(LEASES, Selection::default());
    let informer = pods::indexed(context.informer::<Pod>());
    let wake = WorkQueue::new();
    let on_node = wake.clone();
    nodes.on_event(move |event| {
        // Heartbeats are seen by the period; what changes taints is acted upon at once.
        let told = match event {
            Event::Updated { old, new } => plan::wanted_taints(old) != plan::wanted_taints(new) || old.spec != new.spec,
            Event::Added(_) | Event::Deleted(_) => true,
        };
        if told {
            on_node.add(());
        }
    });
    let mut monitor = apply::Monitor {
        client: context.client.clone(),
        recorder: context.recorder("node-controller"),
        nodes: nodes.store().clone(),
        leases: leases.store().clone(),
        pods: informer.store().clone(),
        config: context.shared.config.node_lifecycle.clone(),
        known: Default::default(),
        zones: Default::default(),
    };
    let period = context.shared.config.node_lifecycle.monitor_period;
    context.spawn(async move {
        loop {
            monitor.pass().await;
            tokio::select! {
                biased;
                _ = wake.get() => wake.done(&()),
                () = tokio::time::sleep(period) => {}
            }
        }
    });
    Ok(())
}
