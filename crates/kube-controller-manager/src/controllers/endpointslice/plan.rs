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
    hints::{self, Hinted, Mode, Zones},
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
    /// Changes of the hints to be told: whether a warning, the reason and the message.
    pub(super) notes: Vec<(bool, &'static str, String)>,
    /// Whether the endpoints are shared out among zones.
    pub(super) shared_out: bool,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// Endpoints by pod uid.
type Group = BTreeMap<String, Endpoint>;

/// What is known of the cluster around a service.
pub(super) struct Surroundings<'a> {
    /// Nodes by name.
    pub(super) node: &'a dyn Fn(&str) -> Option<Arc<Node>>,
    /// The zones' shares; none where they are unknown.
    pub(super) zones: Option<Zones>,
    /// Whether the endpoints were shared out among zones before.
    pub(super) shared_out: bool,
    /// Endpoints per slice.
    pub(super) max: usize,
}

/// Compares the pods behind a service with its slices.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    around: &Surroundings<'_>,
    slices: &[Arc<EndpointSlice>],
) -> Plan {
    let default = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let families = members::families(spec);
    let mode = hints::mode(service);
    let mut plan = Plan { shared_out: around.shared_out, ..Plan::default() };
    let outdated = |slice: &EndpointSlice| !families.contains(&slice.address_type);
    plan.delete.extend(slices.iter().filter(|slice| outdated(slice)).cloned());
    for family in &families {
        let own: Vec<_> = slices.iter().filter(|slice| slice.address_type == *family).cloned().collect();
        let groups = groups(service, spec, pods, around.node, family);
        let packer = Packer { service, spec, family, max: around.max };
        let mut packed = packer.pack(groups, own, &mut plan);
        packer.hint(mode, around.zones.as_ref(), &mut packed, &mut plan);
        packed.into_iter().for_each(|slice| packer.write(slice, &mut plan));
    }
    plan
}

fn groups(
    service: &Service,
    spec: &ServiceSpec,
    pods: &[Arc<Pod>],
    node: &dyn Fn(&str) -> Option<Arc<Node>>,
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

/// A slice as it is to be.
struct Packed {
    /// As it is, where it exists.
    old: Option<Arc<EndpointSlice>>,
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

impl Packed {
    /// Whether its endpoints are what they were, apart from hints; then it has their hints.
    fn adopt_hints(&mut self) -> bool {
        let Some(had) = self.old.as_ref().and_then(|old| old.endpoints.as_ref()) else { return false };
        let same = |(had, wanted): (&Endpoint, &Endpoint)| Endpoint { hints: None, ..had.clone() } == *wanted;
        let kept = had.len() == self.endpoints.len() && had.iter().zip(&self.endpoints).all(same);
        if kept {
            self.endpoints.clone_from(had);
        }
        kept
    }
}

struct Packer<'a> {
    service: &'a Service,
    spec: &'a ServiceSpec,
    family: &'a str,
    max: usize,
}

impl Packer<'_> {
    fn pack(
        &self,
        mut groups: BTreeMap<Vec<Port>, Group>,
        slices: Vec<Arc<EndpointSlice>>,
        plan: &mut Plan,
    ) -> Vec<Packed> {
        let mut by_ports = BTreeMap::<Vec<Port>, Vec<Arc<EndpointSlice>>>::new();
        for slice in slices {
            by_ports.entry(ports_of(&slice)).or_default().push(slice);
        }
        if groups.is_empty() {
            return self.placeholder(by_ports.into_values().flatten().collect(), plan);
        }
        let mut packed = Vec::new();
        for (ports, slices) in by_ports {
            let wanted = groups.remove(&ports).unwrap_or_default();
            self.pack_group(&ports, wanted, slices, plan, &mut packed);
        }
        for (ports, wanted) in groups {
            self.pack_group(&ports, wanted, Vec::new(), plan, &mut packed);
        }
        packed
    }

    /// A service without endpoints has one empty slice: readers then know that there are none.
    fn placeholder(&self, slices: Vec<Arc<EndpointSlice>>, plan: &mut Plan) -> Vec<Packed> {
        let mut slices = slices.into_iter();
        let old = slices.next();
        plan.delete.extend(slices);
        vec![Packed { old, ports: Vec::new(), endpoints: Vec::new() }]
    }

    fn pack_group(
        &self,
        ports: &[Port],
        mut wanted: Group,
        slices: Vec<Arc<EndpointSlice>>,
        plan: &mut Plan,
        packed: &mut Vec<Packed>,
    ) {
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
            match endpoints.is_empty() {
                true => plan.delete.push(slice),
                false => packed.push(Packed { old: Some(slice), ports: ports.to_vec(), endpoints }),
            }
        }
        let rest: Vec<_> = rest.collect();
        let new = |chunk: &[Endpoint]| Packed { old: None, ports: ports.to_vec(), endpoints: chunk.to_vec() };
        packed.extend(rest.chunks(self.max).map(new));
    }

    fn hint(&self, mode: Mode, zones: Option<&Zones>, packed: &mut [Packed], plan: &mut Plan) {
        let notes = &mut plan.notes;
        let mut tell = |warning: bool, reason: &'static str, message: &str| {
            notes.push((warning, reason, format!("{message}, addressType: {}", self.family)));
        };
        if let Mode::Close { nodes } = mode {
            let endpoints = packed.iter_mut().flat_map(|slice| slice.endpoints.iter_mut());
            endpoints.for_each(|endpoint| endpoint.hints = hints::close(endpoint, nodes));
        }
        if mode != Mode::Auto {
            if std::mem::take(&mut plan.shared_out) {
                tell(true, "TopologyAwareHintsDisabled", "Topology Aware Hints has been disabled");
            }
            return;
        }
        let mut slices: Vec<_> = packed
            .iter_mut()
            .map(|slice| {
                let kept = slice.adopt_hints();
                Hinted { endpoints: &mut slice.endpoints, kept }
            })
            .collect();
        let result = hints::allocate(&mut slices, zones);
        let before = std::mem::replace(&mut plan.shared_out, result.is_ok());
        match &result {
            Ok(()) if before => {}
            Ok(()) => tell(false, "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled"),
            Err(why) => tell(true, "TopologyAwareHintsDisabled", why),
        }
    }

    fn write(&self, packed: Packed, plan: &mut Plan) {
        match packed.old {
            Some(slice) => self.update(&slice, packed.endpoints, plan),
            None => plan.create.push(self.slice(&packed.ports, packed.endpoints)),
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
