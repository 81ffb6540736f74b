//! What one object counts for in a quota. Pure.

use api_types::{Quantity, quantity::Format};
use apiserver::{meta, model::Resource};
use serde_json::Value;

use crate::admission::amounts::{self, Amounts};

/// Kinds that quotas may also name without `count/`.
const SHORT: [&str; 6] =
    ["configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"];

fn count(n: usize) -> Quantity {
    Quantity::from_units(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// All names that an object counts under, with its amounts.
pub(super) fn of(resource: &Resource, object: &Value) -> Amounts {
    let mut usage = Amounts::new();
    let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
    let counted = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
    usage.insert(counted, count(1));
    if !group.is_empty() {
        return usage;
    }
    if SHORT.contains(&plural) {
        usage.insert(plural.to_owned(), count(1));
    }
    match plural {
        "pods" => pod(object, &mut usage),
        "services" => service(object, &mut usage),
        "persistentvolumeclaims" => claim(object, &mut usage),
        _ => {}
    }
    usage
}

fn pod(pod: &Value, usage: &mut Amounts) {
    usage.insert("pods".to_owned(), count(1));
    for (name, amount) in amounts::of_pod(pod, "requests") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in amounts::of_pod(pod, "limits") {
        usage.insert(format!("limits.{name}"), amount);
    }
}

fn service(service: &Value, usage: &mut Amounts) {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map_or(0, Vec::len);
    let kind = meta::path_text(service, "spec.type");
    let no_ports = service.pointer("/spec/allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
    if kind == "LoadBalancer" {
        usage.insert("services.loadbalancers".to_owned(), count(1));
    }
    if kind == "NodePort" || (kind == "LoadBalancer" && !no_ports) {
        usage.insert("services.nodeports".to_owned(), count(ports));
    }
}

fn claim(claim: &Value, usage: &mut Amounts) {
    let class = meta::path_text(claim, "spec.storageClassName");
    let storage = amounts::read(claim.pointer("/spec/resources/requests")).remove("storage");
    if let Some(storage) = &storage {
        usage.insert("requests.storage".to_owned(), *storage);
    }
    if !class.is_empty() {
        let prefix = format!("{class}.storageclass.storage.k8s.io");
        usage.insert(format!("{prefix}/persistentvolumeclaims"), count(1));
        usage.extend(storage.map(|s| (format!("{prefix}/requests.storage"), s)));
    }
}

/// What a pod must say because a quota limits it: `limits.cpu for: a,b`.
pub(super) fn missing(resource: &Resource, pod: &Value, limited: &Amounts) -> Vec<String> {
    if !(resource.group.is_empty() && resource.plural == "pods") {
        return Vec::new();
    }
    let mut out = Vec::new();
    for name in limited.keys() {
        let (field, of) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            _ => match name.split_once('.') {
                Some((field @ ("requests" | "limits"), of @ ("cpu" | "memory"))) => (field, of),
                _ => continue,
            },
        };
        let all = amounts::containers(pod, "initContainers").chain(amounts::containers(pod, "containers"));
        let lacking = all.filter(|c| !amounts::of_container(c, field).contains_key(of));
        let names: Vec<&str> = lacking.filter_map(|c| c.get("name").and_then(Value::as_str)).collect();
        if !names.is_empty() {
            out.push(format!("{name} for: {}", names.join(",")));
        }
    }
    out
}

/// Whether the quota is about this object: all its scopes hold. Quotas with scopes are about pods only.
pub(super) fn in_scope(quota: &Value, resource: &Resource, object: &Value) -> bool {
    let scopes = meta::strings(quota.pointer("/spec/scopes"));
    let selected = quota.pointer("/spec/scopeSelector/matchExpressions").and_then(Value::as_array);
    let selected = selected.map(Vec::as_slice).unwrap_or_default();
    if scopes.is_empty() && selected.is_empty() {
        return true;
    }
    let pods = resource.group.is_empty() && resource.plural == "pods";
    pods && scopes.iter().all(|scope| has_scope(scope, object)) && selected.iter().all(|s| is_selected(s, object))
}

fn has_scope(scope: &str, pod: &Value) -> bool {
    let best_effort = || amounts::of_pod(pod, "requests").is_empty() && amounts::of_pod(pod, "limits").is_empty();
    let terminating = || pod.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => !meta::path_text(pod, "spec.priorityClassName").is_empty(),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn is_selected(expression: &Value, pod: &Value) -> bool {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
    let scope = text("scopeName");
    let class = meta::path_text(pod, "spec.priorityClassName");
    let named = meta::strings(expression.get("values")).contains(&class);
    match text("operator") {
        "In" => scope == "PriorityClass" && named,
        "NotIn" => scope == "PriorityClass" && !named,
        "DoesNotExist" => !has_scope(scope, pod),
        _ => has_scope(scope, pod),
    }
}

fn crosses_namespaces(pod: &Value) -> bool {
    let mut terms = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = |list: &str| pod.pointer(&format!("/spec/affinity/{kind}/{list}")).and_then(Value::as_array);
        terms.extend(at("requiredDuringSchedulingIgnoredDuringExecution").into_iter().flatten());
        let weighted = at("preferredDuringSchedulingIgnoredDuringExecution").into_iter().flatten();
        terms.extend(weighted.filter_map(|t| t.get("podAffinityTerm")));
    }
    let other = |t: &Value| meta::strings(t.get("namespaces")).iter().any(|n| n != meta::namespace(pod));
    terms.iter().any(|t| other(t) || t.get("namespaceSelector").is_some())
}
