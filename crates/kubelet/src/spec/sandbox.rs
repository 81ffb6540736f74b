//! The sandbox that a pod's containers run in.

use super::{dns, hosts, labels, resources, security};
use crate::config::Config;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::Pod;
use k8s_cri::v1::{
    LinuxContainerResources, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
};
use std::collections::HashMap;
use std::path::PathBuf;

/// The directory of the pod's logs.
pub(crate) fn log_dir(config: &Config, pod: &Pod) -> PathBuf {
    config.paths.pod_logs.join(format!("{}_{}_{}", pod.ns(), pod.pod_name(), pod.pod_uid()))
}

/// Labels of the sandbox: the pod's own, and those by which it is found again.
fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut out: HashMap<_, _> = pod.metadata.labels.clone().into_iter().flatten().collect();
    out.extend(identity(pod));
    out
}

/// The labels that say which pod something belongs to.
pub(crate) fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (labels::POD_NAME.to_owned(), pod.pod_name().to_owned()),
        (labels::POD_NAMESPACE.to_owned(), pod.ns().to_owned()),
        (labels::POD_UID.to_owned(), pod.pod_uid().to_owned()),
    ]
}

fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let sidecars = pod.init().iter().filter(|container| crate::pod::is_sidecar(container));
    let ports = sidecars.chain(pod.main()).flat_map(|container| container.ports.iter().flatten());
    let mapped = ports.filter(|port| port.host_port.unwrap_or(0) > 0);
    mapped
        .map(|port| PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// The sandbox's configuration for its `attempt`th creation.
pub(crate) fn config(
    config: &Config,
    pod: &Pod,
    node_dns: &dns::NodeDns,
    attempt: u32,
) -> Result<PodSandboxConfig, String> {
    if pod.spec().host_users == Some(false) {
        return Err("pods with hostUsers: false need user namespaces, which this kubelet does not support".into());
    }
    let hostname = match pod.host_network() {
        true => String::new(),
        false => {
            let (hostname, domain) = hosts::names(pod, &config.cluster_domain)?;
            hosts::kernel_name(pod, &hostname, &domain)?
        }
    };
    let context = pod.spec().security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    let limits = resources::pod_cgroup(pod, &config.cgroups);
    let linux = LinuxPodSandboxConfig {
        cgroup_parent: if config.cgroups.per_qos {
            resources::cgroup_name(pod, &config.cgroups)
        } else {
            String::new()
        },
        security_context: Some(security::sandbox(pod)),
        sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        overhead: Some(LinuxContainerResources::default()),
        resources: Some(LinuxContainerResources {
            cpu_shares: limits.cpu_shares.unwrap_or(2) as i64,
            cpu_period: limits.cpu_period.unwrap_or(100_000) as i64,
            cpu_quota: limits.cpu_quota.unwrap_or(0),
            memory_limit_in_bytes: limits.memory.unwrap_or(0),
            ..LinuxContainerResources::default()
        }),
    };
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.pod_name().to_owned(),
            uid: pod.pod_uid().to_owned(),
            namespace: pod.ns().to_owned(),
            attempt,
        }),
        hostname,
        log_directory: log_dir(config, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns::for_pod(pod, node_dns)),
        port_mappings: port_mappings(pod),
        labels: sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().into_iter().flatten().collect(),
        linux: Some(linux),
        windows: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_pod_with_a_host_port() {
        let pod: Pod = from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP"}]}],
                     "securityContext": {"sysctls": [{"name": "net.a", "value": "1"}]}}}))
        .unwrap();
        let out = config(&Config::new("node"), &pod, &dns::NodeDns::default(), 3).unwrap();
        assert_eq!(out.metadata.as_ref().unwrap().attempt, 3);
        assert_eq!(out.log_directory, "/var/log/pods/n_p_u");
        assert_eq!(out.port_mappings.len(), 1);
        assert_eq!((out.port_mappings[0].host_port, out.port_mappings[0].protocol()), (5353, Protocol::Udp));
        assert_eq!(out.labels["app"], "x");
        assert_eq!(out.labels[labels::POD_UID], "u");
        assert_eq!(out.linux.unwrap().sysctls["net.a"], "1");
    }
}
