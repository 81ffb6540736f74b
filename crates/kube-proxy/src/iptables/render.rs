//! One service's rules as iptables chains, worded as upstream words them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::chains::{endpoint_chain, service_chain};
use crate::{compile::ServiceRules, model::ServicePort};

/// How traffic of this node's pods is told from other traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalTraffic {
    /// It is not.
    Unknown,
    /// By its source.
    Cidr(String),
    /// By the interface it comes in by (with a `+` for a prefix).
    Interface(String),
}

impl LocalTraffic {
    /// The match for pods' traffic, and for all other.
    fn matches(&self) -> Option<(String, String)> {
        match self {
            LocalTraffic::Unknown => None,
            LocalTraffic::Cidr(cidr) => Some((format!("-s {cidr}"), format!("! -s {cidr}"))),
            LocalTraffic::Interface(name) => Some((format!("-i {name}"), format!("! -i {name}"))),
        }
    }
}

/// What rules depend on beside services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Masquerade everything that goes to a cluster IP.
    pub masquerade_all: bool,
    /// The bit by which packets are marked for masquerading.
    pub masquerade_mark: u32,
    /// Whether masquerading picks ports at random.
    pub random_fully: bool,
    /// Whether packets out of a connection's window are let pass.
    pub conntrack_be_liberal: bool,
    /// How pods' traffic is told from other.
    pub local: LocalTraffic,
    /// Whether node ports answer on the loopback address.
    pub localhost_node_ports: bool,
    /// The addresses that node ports answer on; empty is every address of the node.
    pub node_port_addresses: Vec<IpAddr>,
    /// The node's addresses, to let it through load balancer firewalls.
    pub node_ips: Vec<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            masquerade_all: false,
            masquerade_mark: 1 << 14,
            random_fully: true,
            conntrack_be_liberal: false,
            local: LocalTraffic::Unknown,
            localhost_node_ports: true,
            node_port_addresses: Vec::new(),
            node_ips: Vec::new(),
        }
    }
}

/// What one service brings: chains of its own, and rules in chains that it shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Chains of the nat table with their rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Rules in `nat KUBE-SERVICES`.
    pub services: Vec<String>,
    /// Rules in `nat KUBE-NODEPORTS`.
    pub node_ports: Vec<String>,
    /// Rules in `filter KUBE-SERVICES`.
    pub rejected: Vec<String>,
    /// Rules in `filter KUBE-EXTERNAL-SERVICES`.
    pub rejected_external: Vec<String>,
    /// Rules in `filter KUBE-PROXY-FIREWALL`.
    pub firewall: Vec<String>,
    /// Rules in `filter KUBE-NODEPORTS`.
    pub health: Vec<String>,
}

/// Renders the ports of one service.
#[must_use]
pub fn render(rules: &[ServiceRules], settings: &Settings) -> Fragment {
    let mut fragment = Fragment::default();
    for rules in rules {
        let names = Names::new(&rules.port);
        capture(rules, &names, settings, &mut fragment);
        if rules.has_any {
            chains(rules, &names, settings, &mut fragment);
        }
    }
    // One health check per service, however many ports it has.
    fragment.health.dedup();
    fragment
}

struct Names {
    /// `namespace/name:port`.
    port: String,
    cluster: String,
    local: String,
    external: String,
    firewall: String,
}

impl Names {
    fn new(port: &ServicePort) -> Self {
        let chain = |prefix| service_chain(prefix, port);
        Names {
            port: port.name(),
            cluster: chain("KUBE-SVC-"),
            local: chain("KUBE-SVL-"),
            external: chain("KUBE-EXT-"),
            firewall: chain("KUBE-FW-"),
        }
    }
}

/// The match for a destination of the port.
fn to(port: &ServicePort, ip: IpAddr) -> String {
    format!("-m {0} -p {0} -d {1} --dport {2}", port.protocol, ip, port.port)
}

/// The rules in shared chains: what catches the service's traffic, and what refuses it where it has nowhere to go.
fn capture(rules: &ServiceRules, names: &Names, settings: &Settings, out: &mut Fragment) {
    let port = &rules.port;
    let name = &names.port;
    let (verdict, why) =
        if rules.has_any { ("DROP", "has no local endpoints") } else { ("REJECT", "has no endpoints") };
    let refuse = |destination: &str| format!(r#"-m comment --comment "{name} {why}" {destination} -j {verdict}"#);
    let internal = if port.internal_local { &names.local } else { &names.cluster };
    if rules.has_internal() {
        out.services
            .push(format!(r#"-m comment --comment "{name} cluster IP" {} -j {internal}"#, to(port, port.cluster_ip)));
    } else {
        out.rejected.push(refuse(&to(port, port.cluster_ip)));
    }
    for ip in &port.external_ips {
        if rules.has_any {
            out.services.push(format!(
                r#"-m comment --comment "{name} external IP" {} -j {}"#,
                to(port, *ip),
                names.external
            ));
        }
        if !rules.has_external() {
            out.rejected_external.push(refuse(&to(port, *ip)));
        }
    }
    for ip in &port.load_balancer_ips {
        let guarded = !port.source_ranges.is_empty();
        if rules.has_any {
            let chain = if guarded { &names.firewall } else { &names.external };
            out.services.push(format!(r#"-m comment --comment "{name} loadbalancer IP" {} -j {chain}"#, to(port, *ip)));
        }
        if guarded {
            let comment = format!("{name} traffic not accepted by {}", names.firewall);
            out.firewall.push(format!(r#"-m comment --comment "{comment}" {} -j DROP"#, to(port, *ip)));
        }
        if !rules.has_external() {
            out.rejected_external.push(refuse(&to(port, *ip)));
        }
    }
    capture_node_port(rules, names, settings, &refuse, out);
}

fn capture_node_port(
    rules: &ServiceRules,
    names: &Names,
    settings: &Settings,
    refuse: &dyn Fn(&str) -> String,
    out: &mut Fragment,
) {
    let port = &rules.port;
    if let Some(node_port) = port.node_port {
        let destination = format!("-m {0} -p {0} --dport {node_port}", port.protocol);
        if rules.has_any {
            let loopback = if settings.localhost_node_ports { "" } else { "! -d 127.0.0.0/8 " };
            out.node_ports
                .push(format!("-m comment --comment {} {loopback}{destination} -j {}", names.port, names.external));
        }
        if !rules.has_external() {
            out.rejected_external.push(refuse(&format!("-m addrtype --dst-type LOCAL {destination}")));
        }
    }
    if let Some(health) = port.health_check_port {
        let service = &port.service;
        out.health.push(format!(
            r#"-m comment --comment "{service} health check node port" -m tcp -p tcp --dport {health} -j ACCEPT"#
        ));
    }
}

/// The service's own chains.
fn chains(rules: &ServiceRules, names: &Names, settings: &Settings, out: &mut Fragment) {
    let port = &rules.port;
    let masquerade = masquerade_internal(port, names, settings);
    for (chain, endpoints, is_internal) in
        [(&names.cluster, &rules.cluster, !port.internal_local), (&names.local, &rules.local, port.internal_local)]
    {
        if !endpoints.is_empty() {
            let mut lines: Vec<String> = masquerade.iter().filter(|_| is_internal).cloned().collect();
            balance(port, &names.port, endpoints, &mut lines);
            out.chains.insert(chain.clone(), lines);
        }
    }
    if port.is_external() {
        out.chains.insert(names.external.clone(), external(rules, names, settings));
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            out.chains.insert(names.firewall.clone(), firewall(port, names, settings));
        }
    }
    for endpoint in rules.reachable() {
        let chain = endpoint_chain(port, endpoint);
        let comment = format!("-m comment --comment {}", names.port);
        let recent = port.affinity_seconds.map(|_| format!(" -m recent --name {chain} --set")).unwrap_or_default();
        let lines = vec![
            // A pod that reaches itself through its service must see an answer from the service.
            format!("{comment} -s {} -j KUBE-MARK-MASQ", endpoint.ip()),
            format!("{comment}{recent} -m {0} -p {0} -j DNAT --to-destination {endpoint}", port.protocol),
        ];
        out.chains.insert(chain, lines);
    }
}

/// Traffic to the cluster IP from elsewhere than pods comes back by this node only when it is masqueraded.
fn masquerade_internal(port: &ServicePort, names: &Names, settings: &Settings) -> Option<String> {
    let rule = |from: &str| {
        let destination = to(port, port.cluster_ip);
        format!(r#"-m comment --comment "{} cluster IP" {destination} {from}-j KUBE-MARK-MASQ"#, names.port)
    };
    if settings.masquerade_all {
        return Some(rule(""));
    }
    settings.local.matches().map(|(_, others)| rule(&format!("{others} ")))
}

/// Picks an endpoint: the one that the client had, else each with the same chance.
fn balance(port: &ServicePort, name: &str, endpoints: &[SocketAddr], lines: &mut Vec<String>) {
    let each: Vec<_> = endpoints.iter().map(|e| (e, endpoint_chain(port, *e))).collect();
    if let Some(seconds) = port.affinity_seconds {
        for (endpoint, chain) in &each {
            lines.push(format!(
                r#"-m comment --comment "{name} -> {endpoint}" -m recent --name {chain} --rcheck --seconds {seconds} --reap -j {chain}"#
            ));
        }
    }
    for (index, (endpoint, chain)) in each.iter().enumerate() {
        let left = each.len() - index;
        let chance = if left > 1 {
            format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64)
        } else {
            String::new()
        };
        lines.push(format!(r#"-m comment --comment "{name} -> {endpoint}"{chance} -j {chain}"#));
    }
}

/// Traffic from outside the cluster.
fn external(rules: &ServiceRules, names: &Names, settings: &Settings) -> Vec<String> {
    let (port, name) = (&rules.port, &names.port);
    let mut lines = Vec::new();
    if !port.external_local {
        lines.push(format!(
            r#"-m comment --comment "masquerade traffic for {name} external destinations" -j KUBE-MARK-MASQ"#
        ));
    } else if !rules.cluster.is_empty() {
        // Pods and the node itself are inside, whatever address they use: they reach every endpoint.
        if let Some((pods, _)) = settings.local.matches() {
            lines.push(format!(
                r#"-m comment --comment "pod traffic for {name} external destinations" {pods} -j {}"#,
                names.cluster
            ));
        }
        let node = "-m addrtype --src-type LOCAL";
        lines.push(format!(r#"-m comment --comment "masquerade LOCAL traffic for {name} external destinations" {node} -j KUBE-MARK-MASQ"#));
        lines.push(format!(
            r#"-m comment --comment "route LOCAL traffic for {name} external destinations" {node} -j {}"#,
            names.cluster
        ));
    }
    if rules.has_external() {
        lines.push(format!("-j {}", if port.external_local { &names.local } else { &names.cluster }));
    }
    lines
}

/// Who may use the load balancer. What comes back from this chain is dropped in the filter table.
fn firewall(port: &ServicePort, names: &Names, settings: &Settings) -> Vec<String> {
    let comment = format!(r#"-m comment --comment "{} loadbalancer IP""#, names.port);
    let allow = |source: &str| format!("{comment} -s {source} -j {}", names.external);
    let mut lines: Vec<String> = port.source_ranges.iter().map(|range| allow(range)).collect();
    // A node that has the address itself (as some load balancers set it up) reaches it from that very address.
    let node_allowed = port.source_ranges.iter().any(|range| settings.node_ips.iter().any(|ip| contains(range, *ip)));
    if node_allowed {
        lines.extend(port.load_balancer_ips.iter().map(|ip| allow(&ip.to_string())));
    }
    lines
}

/// Whether the CIDR holds the address.
pub(crate) fn contains(cidr: &str, ip: IpAddr) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap_or((cidr, ""));
    let Ok(network) = network.parse::<IpAddr>() else { return false };
    let (a, b, width) = match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let bits: u32 = if bits.is_empty() { width } else { bits.parse().unwrap_or(width) };
    bits == 0 || (a ^ b) >> (width - bits.min(width)) == 0
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
