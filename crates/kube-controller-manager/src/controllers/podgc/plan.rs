//! Which pods to remove. Pure.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{Node, Pod},
    jiff::Timestamp,
};
use component_helpers::{nodes, pods as helpers};
use kube::ResourceExt;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// How long a node has to be missing before its pods are removed, in seconds.
const QUARANTINE: i64 = 40;

/// Names of nodes that pods are bound to and that have been missing for the quarantine. `missing` remembers since when.
pub(super) fn gone_nodes(
    pods: &[Arc<Pod>],
    known: impl Fn(&str) -> bool,
    missing: &mut BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Vec<String> {
    let named = pods.iter().filter_map(|pod| helpers::node_name(pod)).filter(|name| !known(name));
    let current: std::collections::BTreeSet<_> = named.map(str::to_owned).collect();
    missing.retain(|name, _| current.contains(name));
    for name in current {
        missing.entry(name).or_insert(now);
    }
    let old = missing.iter().filter(|(_, since)| now.as_second() - since.as_second() >= QUARANTINE);
    old.map(|(name, _)| name.clone()).collect()
}

/// The oldest terminated pods beyond the threshold (0 = no limit), evicted ones first.
pub(super) fn terminated(pods: &[Arc<Pod>], threshold: usize) -> Vec<Arc<Pod>> {
    if threshold == 0 {
        return Vec::new();
    }
    let mut done: Vec<_> = pods.iter().filter(|pod| helpers::is_terminal(pod)).cloned().collect();
    let evicted = |pod: &Pod| pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
    done.sort_by_key(|pod| (!evicted(pod), pod.creation_timestamp().map(|t| t.0), pod.name_any()));
    let excess = done.len().saturating_sub(threshold);
    done.truncate(excess);
    done
}

/// Deleted pods that were never bound: no kubelet will end them.
pub(super) fn unscheduled_terminating(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let stuck = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && helpers::node_name(pod).is_none();
    pods.iter().filter(stuck).cloned().collect()
}

/// Deleted pods on nodes that are not ready and marked out of service.
pub(super) fn out_of_service(pods: &[Arc<Pod>], node: impl Fn(&str) -> Option<Arc<Node>>) -> Vec<Arc<Pod>> {
    let marked = |node: &Node| {
        !nodes::is_ready(node) && nodes::node_taints(node).iter().any(|taint| taint.key == OUT_OF_SERVICE)
    };
    let stuck = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_some()
            && helpers::node_name(pod).and_then(&node).is_some_and(|node| marked(&node))
    };
    pods.iter().filter(stuck).cloned().collect()
}
