//! Which pods are behind a service, at which addresses and ports. Pure; EndpointSlices and Endpoints are made of it.

use std::net::IpAddr;

use api_types::k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServiceSpec};
use component_helpers::{pods as helpers, ports};
use kube::ResourceExt;

const ZONE: &str = "topology.kubernetes.io/zone";

/// A port of a group of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: Option<String>,
    pub(crate) protocol: String,
    pub(crate) number: i32,
    pub(crate) app_protocol: Option<String>,
}

/// Whether a service has a selector and pods behind it.
pub(crate) fn has_members(spec: &ServiceSpec) -> bool {
    let external = spec.type_.as_deref() == Some("ExternalName");
    !external && spec.selector.as_ref().is_some_and(|s| !s.is_empty())
}

pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

/// The address families of a service: `IPv4`, `IPv6`.
pub(crate) fn families(spec: &ServiceSpec) -> Vec<String> {
    if let Some(families) = spec.ip_families.as_ref().filter(|f| !f.is_empty()) {
        return families.clone();
    }
    let v6 = spec.cluster_ip.as_deref().is_some_and(|ip| ip.contains(':'));
    vec![if v6 { "IPv6" } else { "IPv4" }.to_owned()]
}

/// A pod's addresses of a family; empty for pods that have none or are finished.
pub(crate) fn addresses(pod: &Pod, family: &str) -> Vec<String> {
    if helpers::is_terminal(pod) {
        return Vec::new();
    }
    let status = pod.status.as_ref();
    let listed = status.and_then(|s| s.pod_ips.as_ref()).into_iter().flatten().map(|ip| ip.ip.clone());
    let mut all: Vec<String> = listed.collect();
    if all.is_empty() {
        all.extend(status.and_then(|s| s.pod_ip.clone()));
    }
    let of_family = |ip: &str| match ip.parse::<IpAddr>() {
        Ok(ip) => ip.is_ipv4() == (family == "IPv4"),
        Err(_) => false,
    };
    all.retain(|ip| of_family(ip));
    all
}

/// The pod's ports behind the service's; a named port that the pod lacks is left out.
pub(crate) fn pod_ports(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let one = |port: &api_types::k8s_openapi::api::core::v1::ServicePort| {
        Some(Port {
            name: port.name.clone().filter(|name| !name.is_empty()),
            protocol: ports::protocol(port.protocol.as_deref()).to_owned(),
            number: ports::target_port(pod, port)?,
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut all: Vec<_> = spec.ports.iter().flatten().filter_map(one).collect();
    all.sort();
    all
}

/// The DNS name of a pod that asked for one under this headless service.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let subdomain = spec.subdomain.as_deref()?;
    if service.metadata.name.as_deref() != Some(subdomain) {
        return None;
    }
    spec.hostname.clone().filter(|h| !h.is_empty())
}

/// The reference to a pod.
pub(crate) fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

pub(crate) fn zone(node: Option<&Node>) -> Option<String> {
    node?.labels().get(ZONE).cloned()
}
