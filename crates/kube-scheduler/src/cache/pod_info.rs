//! A pod with all that scheduling reads of it worked out once.

use std::{collections::BTreeSet, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{Pod, PodAffinityTerm, PodSpec, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};
use component_helpers::{
    labels::{self, Labels},
    pods,
    ports::{self, HostPort},
    resources::{self, Options},
};

use super::resources::Resources;

/// A pod and what was computed from it. Never changes: an updated pod gets a new one.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The object.
    pub pod: Arc<Pod>,
    /// `namespace/name`.
    pub key: Arc<str>,
    /// The pod's UID.
    pub uid: Arc<str>,
    /// What it requests.
    pub requests: Resources,
    /// CPU and memory with the assumed minimum for containers that request none: what scores count.
    pub non_zero: Resources,
    /// Ports of the node that it occupies.
    pub host_ports: Vec<HostPort>,
    /// Its terms towards other pods, where it has any.
    pub affinity: Option<Arc<Affinity>>,
    /// Its priority.
    pub priority: i32,
    /// Where it was sent, as long as the object does not say so.
    sent_to: Option<Arc<str>>,
}

/// A pod's terms towards other pods.
#[derive(Debug, Default)]
pub struct Affinity {
    /// Pods that must share the topology.
    pub required: Vec<Arc<Term>>,
    /// Pods that must not share the topology.
    pub required_anti: Vec<Arc<Term>>,
    /// Pods that should share the topology.
    pub preferred: Vec<(i64, Arc<Term>)>,
    /// Pods that should not share the topology.
    pub preferred_anti: Vec<(i64, Arc<Term>)>,
}

/// One affinity term.
#[derive(Debug)]
pub struct Term {
    /// What it says, for finding equal ones.
    pub id: Arc<str>,
    /// Namespaces named, or the pod's own where neither names nor a selector are given.
    pub namespaces: BTreeSet<String>,
    /// Namespaces picked by their labels.
    pub namespace_selector: Option<LabelSelector>,
    /// The pods meant; absent means none.
    pub selector: Option<LabelSelector>,
    /// The node label whose equal values make one place.
    pub topology_key: String,
}

impl Term {
    /// Whether the term means that pod; `namespace_labels` are the labels of the pod's namespace.
    #[must_use]
    pub fn matches(&self, pod: &Pod, namespace_labels: Option<&Labels>) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let here = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|s| labels::matches(s, namespace_labels));
        here && labels::selects(self.selector.as_ref(), pod.metadata.labels.as_ref())
    }
}

impl PodInfo {
    /// Works out the pod.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        let options = Options { use_status: true, assume_defaults: false };
        let requests = Resources::from(&resources::pod_requests_with(&pod, options));
        let assumed = resources::pod_requests_with(&pod, Options { assume_defaults: true, ..options });
        PodInfo {
            key: pods::key(&pod).into(),
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            requests,
            non_zero: Resources::from(&assumed),
            host_ports: ports::host_ports(&pod),
            affinity: affinity(&pod),
            priority: pods::priority(&pod),
            sent_to: None,
            pod,
        }
    }

    /// The same pod as it looks once it runs on `node`.
    #[must_use]
    pub fn assigned_to(&self, node: &str) -> Self {
        PodInfo { sent_to: Some(node.into()), ..self.clone() }
    }

    /// The pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod's labels.
    #[must_use]
    pub fn labels(&self) -> Option<&Labels> {
        self.pod.metadata.labels.as_ref()
    }

    /// The pod's spec; a pod without one asks for nothing.
    #[must_use]
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// The node the pod is bound to, or was sent to.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.sent_to.as_deref().or_else(|| pods::node_name(&self.pod))
    }

    /// Whether the pod is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The terms of one kind; empty where the pod has none.
    #[must_use]
    pub fn required_anti_affinity(&self) -> &[Arc<Term>] {
        self.affinity.as_ref().map_or(&[], |a| &a.required_anti)
    }

    /// The required affinity terms.
    #[must_use]
    pub fn required_affinity(&self) -> &[Arc<Term>] {
        self.affinity.as_ref().map_or(&[], |a| &a.required)
    }
}

fn affinity(pod: &Pod) -> Option<Arc<Affinity>> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?;
    let term = |t: &PodAffinityTerm| parse_term(t, pod);
    let weighted = |t: &WeightedPodAffinityTerm| (i64::from(t.weight), parse_term(&t.pod_affinity_term, pod));
    let mut terms = Affinity::default();
    if let Some(towards) = &affinity.pod_affinity {
        terms.required =
            towards.required_during_scheduling_ignored_during_execution.iter().flatten().map(term).collect();
        terms.preferred =
            towards.preferred_during_scheduling_ignored_during_execution.iter().flatten().map(weighted).collect();
    }
    if let Some(against) = &affinity.pod_anti_affinity {
        terms.required_anti =
            against.required_during_scheduling_ignored_during_execution.iter().flatten().map(term).collect();
        terms.preferred_anti =
            against.preferred_during_scheduling_ignored_during_execution.iter().flatten().map(weighted).collect();
    }
    let none = terms.required.is_empty()
        && terms.required_anti.is_empty()
        && terms.preferred.is_empty()
        && terms.preferred_anti.is_empty();
    (!none).then(|| Arc::new(terms))
}

fn parse_term(term: &PodAffinityTerm, pod: &Pod) -> Arc<Term> {
    let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
    }
    let (namespace_selector, selector) = (term.namespace_selector.clone(), term.label_selector.clone());
    let topology_key = term.topology_key.clone();
    let id = format!("{namespaces:?} {namespace_selector:?} {selector:?} {topology_key}").into();
    Arc::new(Term { id, namespaces, namespace_selector, selector, topology_key })
}

/// The selector narrowed to pods that share the values of `keys` with these labels (`matchLabelKeys`).
#[must_use]
pub fn with_label_keys(selector: &LabelSelector, keys: &[String], own: Option<&Labels>) -> LabelSelector {
    let mut narrowed = selector.clone();
    for key in keys {
        if let Some(value) = own.and_then(|l| l.get(key)) {
            narrowed.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: "In".to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    narrowed
}
