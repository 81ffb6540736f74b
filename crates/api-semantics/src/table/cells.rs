//! The functions that `columns.txt` names, and those of kinds that need only one or two.

use jiff::Timestamp;
use serde_json::Value;

use super::text::{at, human_duration, list, or, text};
use super::{network, pod, workload};

/// A cell made by a function; told apart by name.
#[derive(Clone, Copy)]
pub(super) struct CellFn(pub(super) fn(&Value, Timestamp) -> Value, &'static str);

impl std::fmt::Debug for CellFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }
}

impl PartialEq for CellFn {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for CellFn {}

type Function = fn(&Value, Timestamp) -> Value;

const FUNCTIONS: &[(&str, Function)] = &[
    ("pod_ready", pod::ready),
    ("pod_status", pod::status),
    ("pod_restarts", pod::restarts),
    ("pod_ip", pod::ip),
    ("pod_gates", pod::gates),
    ("containers", workload::containers),
    ("images", workload::images),
    ("cron_containers", workload::cron_containers),
    ("cron_images", workload::cron_images),
    ("template_containers", workload::template_containers),
    ("template_images", workload::template_images),
    ("selector", workload::selector),
    ("pod_selector", workload::pod_selector),
    ("revision_owner", workload::revision_owner),
    ("job_status", workload::job_status),
    ("job_completions", workload::job_completions),
    ("job_duration", workload::job_duration),
    ("hpa_reference", workload::hpa_reference),
    ("hpa_targets", workload::hpa_targets),
    ("node_status", workload::node_status),
    ("node_roles", workload::node_roles),
    ("node_internal_ip", workload::node_internal_ip),
    ("node_external_ip", workload::node_external_ip),
    ("node_kernel", workload::node_kernel),
    ("claim_phase", workload::claim_phase),
    ("claim_capacity", workload::claim_capacity),
    ("claim_modes", workload::claim_modes),
    ("claim_state", workload::claim_state),
    ("volume_modes", workload::volume_modes),
    ("volume_claim", workload::volume_claim),
    ("storage_class", workload::storage_class),
    ("storage_class_name", workload::storage_class_name),
    ("quota_requests", workload::quota_requests),
    ("quota_limits", workload::quota_limits),
    ("event_first", workload::event_first),
    ("event_last", workload::event_last),
    ("event_object", workload::event_object),
    ("event_subobject", workload::event_subobject),
    ("event_source", workload::event_source),
    ("event_message", workload::event_message),
    ("event_count", workload::event_count),
    ("service_cluster_ip", network::service_cluster_ip),
    ("service_external_ip", network::service_external_ip),
    ("service_ports", network::service_ports),
    ("endpoints", network::endpoints),
    ("slice_ports", network::slice_ports),
    ("slice_endpoints", network::slice_endpoints),
    ("ingress_hosts", network::ingress_hosts),
    ("ingress_address", network::ingress_address),
    ("ingress_ports", network::ingress_ports),
    ("ingress_parameters", network::ingress_parameters),
    ("ip_parent", network::ip_parent),
    ("role_ref", role_ref),
    ("role_users", role_users),
    ("role_groups", role_groups),
    ("role_accounts", role_accounts),
    ("param_kind", param_kind),
    ("param_ref", param_ref),
    ("csr_duration", csr_duration),
    ("csr_condition", csr_condition),
    ("component_status", component_status),
    ("component_message", component_message),
    ("component_error", component_error),
    ("flow_missing", flow_missing),
    ("level_shares", level_shares),
    ("storage_versions", storage_versions),
    ("api_service", api_service),
    ("api_available", api_available),
];

pub(super) fn find(name: &str) -> Option<CellFn> {
    FUNCTIONS.iter().find(|(n, _)| *n == name).map(|(n, f)| CellFn(*f, n))
}

fn part<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

// === RBAC ===

fn role_ref(binding: &Value, _now: Timestamp) -> Value {
    let role = at(binding, ".roleRef");
    Value::from(format!("{}/{}", part(role, "kind"), part(role, "name")))
}

fn subjects(binding: &Value, kind: &str) -> Value {
    let names: Vec<String> = list(at(binding, ".subjects"))
        .filter(|s| s["kind"] == kind)
        .map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", part(s, "namespace"), part(s, "name")),
            _ => part(s, "name").to_owned(),
        })
        .collect();
    Value::from(names.join(", "))
}

fn role_users(binding: &Value, _now: Timestamp) -> Value {
    subjects(binding, "User")
}

fn role_groups(binding: &Value, _now: Timestamp) -> Value {
    subjects(binding, "Group")
}

fn role_accounts(binding: &Value, _now: Timestamp) -> Value {
    subjects(binding, "ServiceAccount")
}

// === admission policies ===

fn param_kind(policy: &Value, _now: Timestamp) -> Value {
    let kind = at(policy, ".spec.paramKind");
    Value::from(if kind.is_null() {
        "<unset>".to_owned()
    } else {
        format!("{}/{}", part(kind, "apiVersion"), part(kind, "kind"))
    })
}

fn param_ref(binding: &Value, _now: Timestamp) -> Value {
    let param = at(binding, ".spec.paramRef");
    Value::from(match (part(param, "namespace"), part(param, "name")) {
        _ if param.is_null() => "<unset>".to_owned(),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    })
}

// === certificates ===

fn csr_duration(request: &Value, _now: Timestamp) -> Value {
    let seconds = at(request, ".spec.expirationSeconds").as_i64();
    Value::from(seconds.map_or_else(|| "<none>".to_owned(), human_duration))
}

fn csr_condition(request: &Value, _now: Timestamp) -> Value {
    let reached = |name: &str| list(at(request, ".status.conditions")).any(|c| c["type"] == name);
    let mut states: Vec<&str> = Vec::new();
    if reached("Denied") {
        states.push("Denied");
    } else if reached("Approved") {
        states.push("Approved");
    } else {
        states.push("Pending");
    }
    if reached("Failed") {
        states.push("Failed");
    }
    let issued = !or(text(request, ".status.certificate"), text(request, ".status.certificateChain")).is_empty();
    if issued {
        states.push("Issued");
    }
    Value::from(states.join(","))
}

// === components, flow control, storage versions, aggregation ===

fn component_condition(component: &Value) -> &Value {
    list(at(component, ".conditions")).find(|c| c["type"] == "Healthy").unwrap_or(&Value::Null)
}

fn component_status(component: &Value, _now: Timestamp) -> Value {
    Value::from(match part(component_condition(component), "status") {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    })
}

fn component_message(component: &Value, _now: Timestamp) -> Value {
    Value::from(part(component_condition(component), "message"))
}

fn component_error(component: &Value, _now: Timestamp) -> Value {
    Value::from(part(component_condition(component), "error"))
}

fn flow_missing(schema: &Value, _now: Timestamp) -> Value {
    let dangling = list(at(schema, ".status.conditions")).find(|c| c["type"] == "Dangling");
    Value::from(dangling.map_or("?", |c| part(c, "status")))
}

fn level_shares(level: &Value, _now: Timestamp) -> Value {
    let shares = [".spec.limited.nominalConcurrencyShares", ".spec.exempt.nominalConcurrencyShares"]
        .iter()
        .find_map(|path| at(level, path).as_i64());
    shares.map_or_else(|| Value::from("<none>"), Value::from)
}

fn storage_versions(version: &Value, _now: Timestamp) -> Value {
    let all: Vec<String> = list(at(version, ".status.storageVersions"))
        .map(|v| format!("{}={}", part(v, "apiServerID"), part(v, "encodingVersion")))
        .collect();
    Value::from(or(&super::text::first_three(&all, ","), "<unset>"))
}

fn api_service(service: &Value, _now: Timestamp) -> Value {
    let target = at(service, ".spec.service");
    Value::from(if target.is_null() {
        "Local".to_owned()
    } else {
        format!("{}/{}", part(target, "namespace"), part(target, "name"))
    })
}

fn api_available(service: &Value, _now: Timestamp) -> Value {
    let available = list(at(service, ".status.conditions")).find(|c| c["type"] == "Available");
    Value::from(match available {
        None => "Unknown".to_owned(),
        Some(c) if c["status"] == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", part(c, "status"), part(c, "reason")),
    })
}
