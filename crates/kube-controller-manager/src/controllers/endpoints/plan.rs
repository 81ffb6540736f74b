//! The Endpoints object of a service. Pure.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use component_helpers::pods as helpers;
use kube::ResourceExt;

use super::members::{self, Port};

const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// More addresses than this are cut off (and said so by an annotation).
const MAX: usize = 1000;

type Addresses = BTreeMap<(String, String), (EndpointAddress, bool)>;

/// Whether this controller wrote the object.
pub(super) fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

pub(super) fn endpoints(
    service: &Service,
    spec: &ServiceSpec,
    pods: &[Arc<Pod>],
    current: Option<&Endpoints>,
) -> Endpoints {
    let mut groups = BTreeMap::<Vec<Port>, Addresses>::new();
    let (mut total, mut cut) = (0, false);
    let family = members::families(spec).swap_remove(0);
    let unready_too = spec.publish_not_ready_addresses == Some(true);
    for pod in pods {
        let Some(ip) = members::addresses(pod, &family).into_iter().next() else { continue };
        if pod.metadata.deletion_timestamp.is_some() && !unready_too {
            continue;
        }
        total += 1;
        if total > MAX {
            cut = true;
            break;
        }
        let address = EndpointAddress {
            ip: ip.clone(),
            hostname: members::hostname(service, pod),
            node_name: helpers::node_name(pod).map(str::to_owned),
            target_ref: Some(members::target(pod)),
        };
        let ready = unready_too || helpers::is_ready(pod);
        let group = groups.entry(members::pod_ports(spec, pod)).or_default();
        group.insert((ip, pod.uid().unwrap_or_default()), (address, ready));
    }
    let metadata = metadata(service, spec, current, cut);
    let subsets: Vec<_> = groups.into_iter().map(|(ports, addresses)| subset(&ports, addresses)).collect();
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

fn metadata(service: &Service, spec: &ServiceSpec, current: Option<&Endpoints>, cut: bool) -> ObjectMeta {
    let mut meta = current.map(|c| c.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    });
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if members::is_headless(spec) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    meta.labels = Some(labels);
    let mut annotations = meta.annotations.take().unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if cut {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
    meta
}

fn subset(ports: &[Port], addresses: Addresses) -> EndpointSubset {
    let (ready, unready): (Vec<_>, Vec<_>) = addresses.into_values().partition(|(_, ready)| *ready);
    let list = |all: Vec<(EndpointAddress, bool)>| {
        let all: Vec<_> = all.into_iter().map(|(address, _)| address).collect();
        (!all.is_empty()).then_some(all)
    };
    let port = |port: &Port| EndpointPort {
        name: port.name.clone(),
        protocol: Some(port.protocol.clone()),
        port: port.number,
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(unready),
        ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
    }
}
