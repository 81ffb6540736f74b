//! Which slices to write. Pure.
//!
//! Endpoints stay in the slice that has them; slices that change anyway are filled first; a new endpoint opens a new slice only when
//! no slice has room. So a rolling update rewrites few slices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use component_helpers::pods as helpers;
use controller_runtime::owner;
use kube::ResourceExt;

use super::{
    MANAGED_BY, MANAGER, SERVICE_NAME,
    members::{self, Port},
};

/// Label of slices of headless services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// Endpoints by pod uid.
type Group = BTreeMap<String, Endpoint>;

/// Compares the pods behind a service with its slices.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    slices: &[Arc<EndpointSlice>],
    max: usize,
) -> Plan {
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let families = members::families(spec);
    let mut plan = Plan::default();
    let outdated = |slice: &EndpointSlice| !families.contains(&slice.address_type);
    plan.delete.extend(slices.iter().filter(|slice| outdated(slice)).cloned());
    for family in &families {
        let own: Vec<_> = slices.iter().filter(|slice| slice.address_type == *family).cloned().collect();
        let groups = groups(service, spec, pods, &node, family);
        Packer { service, spec, family, max }.pack(groups, own, &mut plan);
    }
    plan
}

fn groups(
    service: &Service,
    spec: &ServiceSpec,
    pods: &[Arc<Pod>],
    node: &impl Fn(&str) -> Option<Arc<Node>>,
    family: &str,
) -> BTreeMap<Vec<Port>, Group> {
    let mut groups = BTreeMap::<_, Group>::new();
    for pod in pods {
        let addresses = members::addresses(pod, family);
        if addresses.is_empty() {
            continue;
        }
        let node_name = helpers::node_name(pod);
        let zone = members::zone(node_name.and_then(node).as_deref());
        let endpoint = endpoint(service, spec, pod, addresses, zone);
        let ports = members::pod_ports(spec, pod);
        groups.entry(ports).or_default().insert(pod.uid().unwrap_or_default(), endpoint);
    }
    groups
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    addresses: Vec<String>,
    zone: Option<String>,
) -> Endpoint {
    let serving = helpers::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = spec.publish_not_ready_addresses == Some(true) || (serving && !terminating);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: members::hostname(service, pod),
        node_name: helpers::node_name(pod).map(str::to_owned),
        target_ref: Some(members::target(pod)),
        zone,
        ..Endpoint::default()
    }
}

struct Packer<'a> {
    service: &'a Service,
    spec: &'a ServiceSpec,
    family: &'a str,
    max: usize,
}

impl Packer<'_> {
    fn pack(&self, mut groups: BTreeMap<Vec<Port>, Group>, slices: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
        let mut by_ports = BTreeMap::<Vec<Port>, Vec<Arc<EndpointSlice>>>::new();
        for slice in slices {
            by_ports.entry(ports_of(&slice)).or_default().push(slice);
        }
        if groups.is_empty() {
            return self.placeholder(by_ports.into_values().flatten().collect(), plan);
        }
        for (ports, slices) in by_ports {
            let wanted = groups.remove(&ports).unwrap_or_default();
            self.pack_group(&ports, wanted, slices, plan);
        }
        for (ports, wanted) in groups {
            self.pack_group(&ports, wanted, Vec::new(), plan);
        }
    }

    /// A service without endpoints has one empty slice: readers then know that there are none.
    fn placeholder(&self, slices: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
        let mut slices = slices.into_iter();
        match slices.next() {
            Some(first) => self.update(&first, Vec::new(), plan),
            None => plan.create.push(self.slice(&[], Vec::new())),
        }
        plan.delete.extend(slices);
    }

    fn pack_group(&self, ports: &[Port], mut wanted: Group, slices: Vec<Arc<EndpointSlice>>, plan: &mut Plan) {
        let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
        for slice in slices {
            let mut endpoints = Vec::new();
            for uid in slice.endpoints.iter().flatten().filter_map(target_uid) {
                endpoints.extend(wanted.remove(uid));
            }
            kept.push((slice, endpoints));
        }
        let mut rest = wanted.into_values().collect::<Vec<_>>().into_iter();
        // Slices that change anyway are filled first, then the others, fullest first.
        let changes = |(slice, endpoints): &(Arc<EndpointSlice>, Vec<Endpoint>)| {
            slice.endpoints.as_ref().map_or(0, Vec::len) != endpoints.len()
        };
        kept.sort_by_key(|entry| (!changes(entry), std::cmp::Reverse(entry.1.len()), entry.0.metadata.name.clone()));
        for (_, endpoints) in &mut kept {
            let room = self.max.saturating_sub(endpoints.len());
            endpoints.extend(rest.by_ref().take(room));
        }
        for (slice, endpoints) in kept {
            if endpoints.is_empty() { plan.delete.push(slice) } else { self.update(&slice, endpoints, plan) }
        }
        let rest: Vec<_> = rest.collect();
        for chunk in rest.chunks(self.max) {
            plan.create.push(self.slice(ports, chunk.to_vec()));
        }
    }

    fn update(&self, slice: &EndpointSlice, endpoints: Vec<Endpoint>, plan: &mut Plan) {
        let mut updated = slice.clone();
        updated.metadata.labels = Some(self.labels());
        let had = slice.endpoints.clone().unwrap_or_default();
        if had != endpoints {
            updated.endpoints = Some(endpoints);
        }
        if updated != *slice {
            plan.update.push(updated);
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.service.metadata.labels.clone().unwrap_or_default();
        labels.remove(HEADLESS);
        if members::is_headless(self.spec) {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        labels.insert(SERVICE_NAME.to_owned(), self.service.name_any());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        labels
    }

    fn slice(&self, ports: &[Port], endpoints: Vec<Endpoint>) -> EndpointSlice {
        let port = |port: &Port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            protocol: Some(port.protocol.clone()),
            port: Some(port.number),
            app_protocol: port.app_protocol.clone(),
        };
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.service.name_any())),
                namespace: self.service.namespace(),
                labels: Some(self.labels()),
                owner_references: Some(vec![owner::controller_ref(self.service)]),
                ..ObjectMeta::default()
            },
            address_type: self.family.to_owned(),
            endpoints: Some(endpoints),
            ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
        }
    }
}

fn target_uid(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.uid.as_deref()
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let one = |port: &EndpointPort| Port {
        name: port.name.clone().filter(|name| !name.is_empty()),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        number: port.port.unwrap_or_default(),
        app_protocol: port.app_protocol.clone(),
    };
    let ports: BTreeSet<_> = slice.ports.iter().flatten().map(one).collect();
    ports.into_iter().collect()
}
