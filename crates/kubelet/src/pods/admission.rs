//! Whether a pod may run on this node: the last check, after the scheduler's. Pure.

use crate::pod::PodExt;
use crate::spec::resources::demand;
use crate::status::containers::StartFailure;
use api_types::k8s_openapi::api::core::v1::{Node, Pod};
use component_helpers::resources::Amounts;
use component_helpers::{node_affinity, nodes, ports, taints};
use std::sync::Arc;

/// Sysctls that are isolated per pod and harmless; upstream's list.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What the check is made against.
pub(crate) struct Facts<'a> {
    /// The node's object, when it is known.
    pub node: Option<&'a Node>,
    /// What pods may use.
    pub allocatable: &'a Amounts,
    /// Sysctls allowed beside the safe ones; `*` at the end matches anything.
    pub sysctls: &'a [String],
}

fn rejection(reason: &str, message: String) -> StartFailure {
    StartFailure { reason: reason.into(), message }
}

/// Checks `pod` against the pods admitted before it.
pub(crate) fn admit(pod: &Pod, others: &[Arc<Pod>], facts: &Facts<'_>) -> Result<(), StartFailure> {
    sysctls(pod, facts.sysctls)?;
    if let Some(node) = facts.node {
        if !node_affinity::pod_accepts(pod.spec(), node) {
            return Err(rejection(
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
            ));
        }
        let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
        let taint = taints::find_untolerated(nodes::node_taints(node), tolerations, &[taints::NO_EXECUTE]);
        if taint.is_some() && !pod.is_static() {
            return Err(rejection("TaintToleration", "Predicate TaintToleration failed".into()));
        }
    }
    let taken: Vec<_> = others.iter().flat_map(|other| ports::host_ports(other)).collect();
    if ports::host_ports(pod).iter().any(|wanted| taken.iter().any(|other| wanted.conflicts(other))) {
        return Err(rejection("NodePorts", "Predicate NodePorts failed".into()));
    }
    // A critical pod runs in any case; upstream stops others for it.
    if pod.is_critical() { Ok(()) } else { fits(pod, others, facts.allocatable) }
}

/// Whether the node has room for what the pod asks for, beside the others.
pub(super) fn fits(pod: &Pod, others: &[Arc<Pod>], allocatable: &Amounts) -> Result<(), StartFailure> {
    let wanted = demand(pod);
    for name in ["pods", "cpu", "memory"] {
        let (Some(wanted), Some(capacity)) = (wanted.get(name).filter(|wanted| **wanted > 0), allocatable.get(name))
        else {
            continue;
        };
        let used: i64 = others.iter().map(|other| demand(other).get(name).copied().unwrap_or(0)).sum();
        if wanted + used > *capacity {
            return Err(rejection(
                &format!("OutOf{name}"),
                format!(
                    "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
                ),
            ));
        }
    }
    Ok(())
}

fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), StartFailure> {
    let wanted = pod.spec().security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    for sysctl in wanted.into_iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *pattern == name,
        };
        if !SAFE_SYSCTLS.contains(&name.as_str()) && !allowed.iter().any(matches) {
            return Err(rejection("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn pod(spec: Value) -> Pod {
        from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn with_cpu(cpu: &str) -> Pod {
        pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
    }

    fn reason(pod: &Pod, others: &[Pod], sysctls: &[String]) -> Option<String> {
        let node: Node = from_value(json!({"metadata": {"labels": {"disk": "ssd"}},
            "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}))
        .unwrap();
        let allocatable = Amounts::from([("cpu".into(), 1000), ("pods".into(), 2)]);
        let others: Vec<_> = others.iter().cloned().map(Arc::new).collect();
        let tolerant = |pod: &Pod| {
            let mut pod = pod.clone();
            let all = from_value(json!([{"operator": "Exists"}])).unwrap();
            pod.spec.as_mut().unwrap().tolerations.get_or_insert(all);
            pod
        };
        admit(&tolerant(pod), &others, &Facts { node: Some(&node), allocatable: &allocatable, sysctls })
            .err()
            .map(|no| no.reason)
    }

    #[test]
    fn reasons() {
        assert_eq!(reason(&with_cpu("600m"), &[with_cpu("400m")], &[]), None);
        assert_eq!(reason(&with_cpu("600m"), &[with_cpu("500m")], &[]).as_deref(), Some("OutOfcpu"));
        assert_eq!(reason(&with_cpu("0"), &[with_cpu("0"), with_cpu("0")], &[]).as_deref(), Some("OutOfpods"));
        assert_eq!(
            reason(&pod(json!({"containers": [], "nodeSelector": {"disk": "hdd"}})), &[], &[]).as_deref(),
            Some("NodeAffinity")
        );
        assert_eq!(
            reason(&pod(json!({"containers": [], "tolerations": []})), &[], &[]).as_deref(),
            Some("TaintToleration")
        );
        let port = pod(json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}));
        assert_eq!(reason(&port, std::slice::from_ref(&port), &[]).as_deref(), Some("NodePorts"));
        let sysctl = pod(
            json!({"containers": [], "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}}),
        );
        assert_eq!(reason(&sysctl, &[], &[]).as_deref(), Some("SysctlForbidden"));
        assert_eq!(reason(&sysctl, &[], &["net.core.*".into()]), None);
    }
}
