//! What is spread when the pod names no constraint: the pods of its service or controller, softly over nodes and zones.

use api_types::k8s_openapi::{
    api::core::v1::TopologySpreadConstraint,
    apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference},
};
use component_helpers::labels;

use super::{HOSTNAME, SCHEDULE_ANYWAY};
use crate::framework::Context;

/// Upstream's `systemDefaultConstraints`.
pub(super) fn built_in() -> Vec<TopologySpreadConstraint> {
    let softly = |topology_key: &str, max_skew| TopologySpreadConstraint {
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: SCHEDULE_ANYWAY.to_owned(),
        max_skew,
        ..TopologySpreadConstraint::default()
    };
    vec![softly(HOSTNAME, 3), softly("topology.kubernetes.io/zone", 5)]
}

/// The pods that belong together with this one: those that the services that select it select, and its controller.
pub(super) fn selector(cx: Context<'_>) -> Option<LabelSelector> {
    let (catalog, namespace) = (&cx.snapshot.catalog, cx.pod.namespace());
    let mut all = LabelSelector::default();
    for service in catalog.services.values().filter(|s| s.metadata.namespace.as_deref() == Some(namespace)) {
        let selects = service.spec.as_ref().and_then(|s| s.selector.as_ref());
        if labels::map_selects(selects, cx.pod.labels()) {
            all.match_labels
                .get_or_insert_default()
                .extend(selects.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    let owners: &[OwnerReference] = cx.pod.pod.metadata.owner_references.as_deref().unwrap_or_default();
    if let Some(owner) = owners.iter().find(|o| o.controller == Some(true)) {
        let key = format!("{namespace}/{}", owner.name);
        let selector = match owner.kind.as_str() {
            "ReplicaSet" => catalog.replica_sets.get(&key).and_then(|o| o.spec.as_ref()).map(|s| s.selector.clone()),
            "StatefulSet" => catalog.stateful_sets.get(&key).and_then(|o| o.spec.as_ref()).map(|s| s.selector.clone()),
            "ReplicationController" => {
                let map = catalog.replication_controllers.get(&key).and_then(|o| o.spec.as_ref()?.selector.clone());
                map.map(|match_labels| LabelSelector { match_labels: Some(match_labels), match_expressions: None })
            }
            _ => None,
        };
        if let Some(selector) = selector {
            all.match_labels.get_or_insert_default().extend(selector.match_labels.into_iter().flatten());
            all.match_expressions.get_or_insert_default().extend(selector.match_expressions.into_iter().flatten());
        }
    }
    (!labels::is_empty(Some(&all))).then_some(all)
}
