//! Which nodes a DaemonSet is for, and the pods that are bound to be there. Pure.

use api_types::k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration},
};
use component_helpers::{node_affinity, nodes, pods as helpers, taints};
use controller_runtime::owner;
use kube::ResourceExt;

use crate::{history, pods};

const NODE_FIELD: &str = "metadata.name";
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// Whether a node is to have a pod, and whether one that is there may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) run: bool,
    pub(super) stay: bool,
}

/// The tolerations that each pod of a DaemonSet gets.
fn own_tolerations(host_network: bool) -> Vec<Toleration> {
    let exists = |key: &str, effect: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some(effect.to_owned()),
        ..Toleration::default()
    };
    let mut all = vec![
        exists(taints::NOT_READY, taints::NO_EXECUTE),
        exists(taints::UNREACHABLE, taints::NO_EXECUTE),
        exists("node.kubernetes.io/disk-pressure", taints::NO_SCHEDULE),
        exists("node.kubernetes.io/memory-pressure", taints::NO_SCHEDULE),
        exists("node.kubernetes.io/pid-pressure", taints::NO_SCHEDULE),
        exists(taints::UNSCHEDULABLE, taints::NO_SCHEDULE),
    ];
    if host_network {
        all.push(exists("node.kubernetes.io/network-unavailable", taints::NO_SCHEDULE));
    }
    all
}

fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    for own in own_tolerations(spec.host_network == Some(true)) {
        if !all.contains(&own) {
            all.push(own);
        }
    }
    all
}

/// Whether a node fits a DaemonSet's template.
pub(super) fn fit(set: &DaemonSet, node: &Node) -> Fit {
    let default = PodSpec::default();
    let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref()).unwrap_or(&default);
    let named = spec.node_name.as_deref().is_none_or(|name| name.is_empty() || name == node.name_any());
    if !named || !node_affinity::pod_accepts(spec, node) {
        return Fit { run: false, stay: false };
    }
    let tolerations = tolerations(spec);
    let untolerated =
        |effects: &[&str]| taints::find_untolerated(nodes::node_taints(node), &tolerations, effects).is_some();
    Fit { run: !untolerated(&[taints::NO_SCHEDULE, taints::NO_EXECUTE]), stay: !untolerated(&[taints::NO_EXECUTE]) }
}

/// The node that a pod runs on or is made for.
pub(super) fn target(pod: &Pod) -> Option<String> {
    if let Some(name) = helpers::node_name(pod) {
        return Some(name.to_owned());
    }
    let required = node_affinity::required(pod.spec.as_ref()?)?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.filter(|field| field.key == NODE_FIELD && field.operator == "In");
    named.filter_map(|field| field.values.as_ref()?.first().cloned()).next()
}

/// A pod for a node: the scheduler binds it, by its affinity to nothing but that node.
pub(super) fn pod(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let template = &set.spec.as_ref()?.template;
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pods::from_template(template, &owner::controller_ref(set), &namespace);
    pod.labels_mut().insert(history::HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = set.annotations().get(GENERATION_ANNOTATION) {
        pod.labels_mut().insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    pin(affinity, node);
    Some(pod)
}

fn pin(affinity: &mut NodeAffinity, node: &str) {
    let field = NodeSelectorRequirement {
        key: NODE_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let required = &mut affinity.required_during_scheduling_ignored_during_execution;
    match required {
        Some(selector) if !selector.node_selector_terms.is_empty() => {
            // The labels were looked at already; only the node counts from here on.
            for term in &mut selector.node_selector_terms {
                term.match_fields = Some(vec![field.clone()]);
            }
        }
        _ => {
            let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
}
