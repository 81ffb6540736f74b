//! What a quota's namespace uses. Pure.

use std::{collections::BTreeMap, sync::Arc};

use api_types::{
    k8s_openapi::{
        api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service},
        apimachinery::pkg::api::resource::Quantity,
        jiff::Timestamp,
    },
    quantity::{Format, Quantity as Amount},
};
use component_helpers::{pods as helpers, qos, resources};
use kube::ResourceExt;

const CLASS: &str = ".storageclass.storage.k8s.io/";

type Amounts = BTreeMap<String, Quantity>;

/// The objects of a namespace.
pub(super) struct World<'a> {
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) services: &'a [Arc<Service>],
    pub(super) claims: &'a [Arc<PersistentVolumeClaim>],
    /// Numbers of other objects, by group resource.
    pub(super) counts: &'a BTreeMap<String, i64>,
    pub(super) now: Timestamp,
}

/// The group resource whose objects a quota's resource name counts.
pub(super) fn counted(name: &str) -> Option<&str> {
    match name {
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => Some(name),
        "count/pods" | "count/services" | "count/persistentvolumeclaims" => None,
        _ => name.strip_prefix("count/"),
    }
}

/// Whether two lists say the same, however they are written.
pub(super) fn same(known: Option<&Amounts>, new: &Amounts) -> bool {
    let parse = |list: &Amounts| -> BTreeMap<String, Option<Amount>> {
        list.iter().map(|(name, quantity)| (name.clone(), quantity.0.parse().ok())).collect()
    };
    known.is_some_and(|known| parse(known) == parse(new))
}

/// What is used of each resource that the quota limits.
pub(super) fn used(quota: &ResourceQuota, world: &World<'_>) -> Amounts {
    let hard = quota.spec.as_ref().and_then(|s| s.hard.as_ref());
    let pods: Vec<_> = world.pods.iter().filter(|pod| counts(pod, world.now) && in_scope(quota, pod)).collect();
    let amount = |name: &String| {
        let value = pod_resource(name, &pods).or_else(|| object_resource(name, world));
        (name.clone(), Quantity(value.unwrap_or_default().to_string()))
    };
    hard.into_iter().flat_map(BTreeMap::keys).map(amount).collect()
}

/// A pod counts until it has finished, or should have been gone for long.
fn counts(pod: &Pod, now: Timestamp) -> bool {
    let gone = pod.metadata.deletion_timestamp.as_ref().is_some_and(|at| {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        now.as_second() > at.0.as_second() + grace
    });
    !helpers::is_terminal(pod) && !gone
}

fn pod_resource(name: &str, pods: &[&Arc<Pod>]) -> Option<Amount> {
    let number = |n: usize| Amount::from_units(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    if name == "pods" || name == "count/pods" {
        return Some(number(pods.len()));
    }
    let plain = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    let (resource, limits) = match name.split_once('.') {
        Some(("requests", "storage")) => return None,
        Some(("requests", resource)) => (resource, false),
        Some(("limits", resource)) => (resource, true),
        _ if plain => (name, false),
        _ => return None,
    };
    let of = |pod: &Pod| if limits { resources::pod_limits(pod) } else { resources::pod_requests(pod) };
    let total = pods.iter().filter_map(|pod| of(pod).get(resource).copied()).sum();
    Some(match resource {
        "cpu" => Amount::from_millis(total),
        "memory" => Amount::from_units(total, Format::BinarySi),
        _ => Amount::from_units(total, Format::DecimalSi),
    })
}

fn object_resource(name: &str, world: &World<'_>) -> Option<Amount> {
    let number = |n: usize| Amount::from_units(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    let type_of = |service: &Service| service.spec.as_ref().and_then(|s| s.type_.clone()).unwrap_or_default();
    let services = |of: &dyn Fn(&Service) -> usize| number(world.services.iter().map(|s| of(s)).sum());
    let claims: Vec<_> = world.claims.iter().collect();
    match name {
        "services" | "count/services" => Some(number(world.services.len())),
        "services.loadbalancers" => Some(services(&|s| usize::from(type_of(s) == "LoadBalancer"))),
        "services.nodeports" => Some(services(&node_ports)),
        "persistentvolumeclaims" | "count/persistentvolumeclaims" => Some(number(claims.len())),
        "requests.storage" => Some(storage(claims.into_iter())),
        _ => match name.split_once(CLASS) {
            Some((class, what)) => {
                let of_class = claims.into_iter().filter(|claim| class_of(claim) == class);
                Some(if what == "requests.storage" { storage(of_class) } else { number(of_class.count()) })
            }
            None => world.counts.get(counted(name)?).map(|n| Amount::from_units(*n, Format::DecimalSi)),
        },
    }
}

fn node_ports(service: &Service) -> usize {
    let Some(spec) = &service.spec else { return 0 };
    match spec.type_.as_deref() {
        Some("NodePort") => spec.ports.as_ref().map_or(0, Vec::len),
        Some("LoadBalancer") => spec.ports.iter().flatten().filter(|port| port.node_port.is_some()).count(),
        _ => 0,
    }
}

fn class_of(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref()).unwrap_or_default()
}

fn storage<'a>(claims: impl Iterator<Item = &'a Arc<PersistentVolumeClaim>>) -> Amount {
    let request = |claim: &Arc<PersistentVolumeClaim>| {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        Some(component_helpers::quantity::value(requests.get("storage")?))
    };
    Amount::from_units(claims.filter_map(request).sum(), Format::BinarySi)
}

fn in_scope(quota: &ResourceQuota, pod: &Pod) -> bool {
    let Some(spec) = &quota.spec else { return true };
    let plain = spec.scopes.iter().flatten().all(|scope| has_scope(scope, pod));
    let selector = spec.scope_selector.iter().flat_map(|s| s.match_expressions.iter().flatten());
    plain
        && selector.into_iter().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.clone()).unwrap_or_default();
            match (requirement.scope_name.as_str(), requirement.operator.as_str()) {
                ("PriorityClass", "In") => values.contains(&class),
                ("PriorityClass", "NotIn") => !values.contains(&class),
                (scope, "DoesNotExist") => !has_scope(scope, pod),
                (scope, _) => has_scope(scope, pod),
            }
        })
}

fn has_scope(scope: &str, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let terminating = spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
    let best_effort = || qos::pod_qos(pod) == qos::QosClass::BestEffort;
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => spec.priority_class_name.as_deref().is_some_and(|class| !class.is_empty()),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()) else { return false };
    let namespace = pod.namespace().unwrap_or_default();
    let (to, from) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
    let required = to.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let required_from = from.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred = to.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let preferred_from = from.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().chain(required_from).flatten();
    let weighted = preferred.into_iter().chain(preferred_from).flatten().map(|w| &w.pod_affinity_term);
    terms.chain(weighted).any(|term| {
        term.namespace_selector.is_some() || term.namespaces.iter().flatten().any(|other| *other != namespace)
    })
}
