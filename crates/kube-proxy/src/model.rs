//! Services and endpoints in the form that rules are made from.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use api_types::k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
};

/// The IP family that a set of rules is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The API's name for it in EndpointSlices.
    #[must_use]
    pub fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// Whether a CIDR (or an address) is of this family.
    #[must_use]
    pub fn has(self, cidr: &str) -> bool {
        cidr.contains(':') == (self == Family::V6)
    }
}

/// Namespace and name of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the proxy knows of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name: an endpoint on it is local.
    pub name: String,
    /// Its zone, for endpoints that are meant for a zone.
    pub zone: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges.
    pub pod_cidrs: Vec<String>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The service.
    pub service: ServiceName,
    /// The port's name, empty where it has none.
    pub port_name: String,
    /// In lower case, as rules and hashes have it.
    pub protocol: &'static str,
    /// The address inside the cluster.
    pub cluster_ip: IpAddr,
    /// The port on it.
    pub port: u16,
    /// The port on every node.
    pub node_port: Option<u16>,
    /// Addresses that are routed to some node from outside.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer; empty is everybody.
    pub source_ranges: Vec<String>,
    /// How long a client sticks to its endpoint.
    pub affinity_seconds: Option<u32>,
    /// Traffic from inside goes to local endpoints only.
    pub internal_local: bool,
    /// Traffic from outside goes to local endpoints only.
    pub external_local: bool,
    /// Where a load balancer asks whether there are local endpoints.
    pub health_check_port: Option<u16>,
}

impl ServicePort {
    /// `namespace/name:port`, or `namespace/name` where the port has no name.
    #[must_use]
    pub fn name(&self) -> String {
        if self.port_name.is_empty() {
            self.service.to_string()
        } else {
            format!("{}:{}", self.service, self.port_name)
        }
    }

    /// Whether traffic may come from outside the cluster.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// Whether any endpoint of the cluster may be used: even where policy keeps outside traffic local, pods reach all.
    #[must_use]
    pub fn uses_cluster_endpoints(&self) -> bool {
        !self.internal_local || self.is_external()
    }

    /// Whether some traffic is kept local.
    #[must_use]
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }
}

/// Where a service's traffic can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: SocketAddr,
    /// On this node.
    pub is_local: bool,
    /// Takes traffic.
    pub is_ready: bool,
    /// Would take traffic, were it not about to end.
    pub is_serving: bool,
    /// About to end.
    pub is_terminating: bool,
    zones: Vec<String>,
    nodes: Vec<String>,
}

impl Endpoint {
    /// The zones that it is meant for.
    #[must_use]
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// The nodes that it is meant for.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }
}

/// Services and their slices, as watched.
#[derive(Debug, Default)]
pub struct World {
    services: BTreeMap<ServiceName, Arc<Service>>,
    slices: BTreeMap<ServiceName, BTreeMap<String, Arc<EndpointSlice>>>,
}

impl World {
    /// Adds or replaces a service.
    pub fn set_service(&mut self, service: Arc<Service>) -> ServiceName {
        let name = service_name(&service);
        self.services.insert(name.clone(), service);
        name
    }

    /// Removes a service.
    pub fn remove_service(&mut self, service: &Service) -> ServiceName {
        let name = service_name(service);
        self.services.remove(&name);
        name
    }

    /// Adds or replaces a slice; gives the service that it belongs to, where it belongs to one.
    pub fn set_slice(&mut self, slice: Arc<EndpointSlice>) -> Option<ServiceName> {
        let owner = slice_owner(&slice)?;
        self.slices.entry(owner.clone()).or_default().insert(slice.metadata.name.clone().unwrap_or_default(), slice);
        Some(owner)
    }

    /// Removes a slice.
    pub fn remove_slice(&mut self, slice: &EndpointSlice) -> Option<ServiceName> {
        let owner = slice_owner(slice)?;
        let slices = self.slices.get_mut(&owner)?;
        slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
        if slices.is_empty() {
            self.slices.remove(&owner);
        }
        Some(owner)
    }

    /// The names of all services, and of services that only have slices.
    #[must_use]
    pub fn names(&self) -> Vec<ServiceName> {
        self.services.keys().cloned().collect()
    }

    /// The service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).map(|s| &**s)
    }

    /// The service's slices, in name order.
    pub fn slices(&self, name: &ServiceName) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.get(name).into_iter().flat_map(|slices| slices.values().map(|s| &**s))
    }
}

fn service_name(service: &Service) -> ServiceName {
    ServiceName {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
    }
}

/// The service that a slice belongs to; none where another proxy is to serve it.
fn slice_owner(slice: &EndpointSlice) -> Option<ServiceName> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.contains_key(HEADLESS) || labels.contains_key(PROXY_NAME) {
        return None;
    }
    let name = labels.get("kubernetes.io/service-name").filter(|n| !n.is_empty())?.clone();
    Some(ServiceName { namespace: slice.metadata.namespace.clone().unwrap_or_default(), name })
}

const HEADLESS: &str = "service.kubernetes.io/headless";
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// The service's ports, as far as this proxy serves them in that family.
#[must_use]
pub fn service_ports(service: &Service, family: Family) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let foreign = |key: &str| service.metadata.labels.as_ref().is_some_and(|l| l.contains_key(key));
    if spec.type_.as_deref() == Some("ExternalName") || foreign(PROXY_NAME) || foreign(HEADLESS) {
        return Vec::new();
    }
    let first: Vec<String> = spec.cluster_ip.iter().cloned().collect();
    let cluster_ips = spec.cluster_ips.as_ref().filter(|ips| !ips.is_empty()).unwrap_or(&first);
    let Some(cluster_ip) = ips_of(cluster_ips, family).first().copied() else { return Vec::new() };
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let seconds = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
        seconds.and_then(|s| u32::try_from(s).ok()).unwrap_or(10_800)
    });
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let health_check_port =
        spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0 && external_local);
    let template = ServicePort {
        service: service_name(service),
        port_name: String::new(),
        protocol: "tcp",
        cluster_ip,
        port: 0,
        node_port: None,
        external_ips: ips_of(spec.external_ips.as_deref().unwrap_or_default(), family),
        load_balancer_ips: load_balancer_ips(service, family),
        source_ranges: source_ranges(service, family),
        affinity_seconds: affinity,
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local,
        health_check_port,
    };
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP" | "") => "tcp",
            Some("UDP") => "udp",
            Some("SCTP") => "sctp",
            Some(_) => return None,
        };
        Some(ServicePort {
            port_name: port.name.clone().unwrap_or_default(),
            protocol,
            port: u16::try_from(port.port).ok()?,
            node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0),
            ..template.clone()
        })
    });
    ports.collect()
}

fn ips_of(texts: &[String], family: Family) -> Vec<IpAddr> {
    texts.iter().filter_map(|t| t.parse().ok()).filter(|ip| Family::of(*ip) == family).collect()
}

/// The load balancer's addresses, less those whose traffic the balancer proxies itself.
fn load_balancer_ips(service: &Service, family: Family) -> Vec<IpAddr> {
    let is_balanced = service.spec.as_ref().is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer"));
    let ingress =
        service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_deref()).unwrap_or_default();
    let direct = ingress.iter().filter(|i| is_balanced && i.ip_mode.as_deref() != Some("Proxy"));
    ips_of(&direct.filter_map(|i| i.ip.clone()).collect::<Vec<_>>(), family)
}

fn source_ranges(service: &Service, family: Family) -> Vec<String> {
    let listed = service.spec.as_ref().and_then(|s| s.load_balancer_source_ranges.as_deref()).unwrap_or_default();
    let mut ranges: Vec<String> = listed.iter().map(|r| r.trim().to_owned()).filter(|r| family.has(r)).collect();
    ranges.sort();
    ranges.dedup();
    // Everybody is nobody in particular.
    if ranges.iter().any(|r| r == "0.0.0.0/0" || r == "::/0") { Vec::new() } else { ranges }
}

/// The endpoints of one service port, in the order of their addresses, each once.
#[must_use]
pub fn endpoints<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: &ServicePort,
    family: Family,
    node: &Node,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices.filter(|s| s.address_type == family.address_type()) {
        let same_port = slice.ports.iter().flatten().find(|p| {
            let protocol = p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            p.name.as_deref().unwrap_or_default() == port.port_name && protocol == port.protocol
        });
        let Some(number) = same_port.and_then(|p| p.port).and_then(|p| u16::try_from(p).ok()) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(ip) = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
            let made = make_endpoint(endpoint, SocketAddr::new(ip, number), node);
            // An endpoint that moves from slice to slice may be in two for a while; the ready one is right.
            match found.get(&made.address) {
                Some(known) if known.is_ready || !made.is_ready => {}
                _ => {
                    found.insert(made.address, made);
                }
            }
        }
    }
    found.into_values().collect()
}

fn make_endpoint(endpoint: &ApiEndpoint, address: SocketAddr, node: &Node) -> Endpoint {
    let conditions = endpoint.conditions.as_ref();
    let is_ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = endpoint.hints.as_ref();
    let zones = hints.and_then(|h| h.for_zones.as_ref()).map(|z| z.iter().map(|z| z.name.clone()).collect());
    let nodes = hints.and_then(|h| h.for_nodes.as_ref()).map(|n| n.iter().map(|n| n.name.clone()).collect());
    Endpoint {
        address,
        is_local: endpoint.node_name.as_deref() == Some(&node.name),
        is_ready,
        is_serving: conditions.and_then(|c| c.serving).unwrap_or(is_ready),
        is_terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        zones: zones.unwrap_or_default(),
        nodes: nodes.unwrap_or_default(),
    }
}
