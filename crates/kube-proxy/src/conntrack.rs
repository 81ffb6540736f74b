//! Connection tracking entries that lead to endpoints that are gone.
//!
//! A TCP connection to a lost endpoint ends by itself; a client of UDP would send to it for ever, as long as it sends at all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    process::Stdio,
};

use tokio::process::Command;

use crate::compile::ServiceRules;

/// Entries to delete, as arguments of `conntrack -D -p udp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stale {
    /// Traffic to the address that was sent on to the endpoint.
    Via {
        /// The service's address.
        to: IpAddr,
        /// The endpoint's.
        endpoint: IpAddr,
    },
    /// Traffic to the node port that was sent on to the endpoint.
    NodePortVia {
        /// The port.
        port: u16,
        /// The endpoint's address.
        endpoint: IpAddr,
    },
    /// All traffic to the address: it went nowhere so far.
    To(IpAddr),
    /// All traffic to the node port.
    ToNodePort(u16),
}

/// The UDP ports of a service by name, with their endpoints.
type Ports = BTreeMap<String, (ServiceRules, Vec<SocketAddr>)>;

fn udp(rules: &[ServiceRules]) -> Ports {
    let udp = rules.iter().filter(|r| r.port.protocol == "udp");
    udp.map(|r| (r.port.name(), (r.clone(), r.reachable()))).collect()
}

/// What is stale once the service's rules are `new` instead of `old`.
#[must_use]
pub(crate) fn stale(old: &[ServiceRules], new: &[ServiceRules]) -> Vec<Stale> {
    let (old, new) = (udp(old), udp(new));
    let mut found = Vec::new();
    for (name, (rules, endpoints)) in &old {
        let kept = new.get(name).map(|(_, e)| e.as_slice()).unwrap_or_default();
        for endpoint in endpoints.iter().filter(|e| !kept.contains(e)).map(SocketAddr::ip) {
            found.extend(addresses(rules).into_iter().map(|to| Stale::Via { to, endpoint }));
            found.extend(rules.port.node_port.map(|port| Stale::NodePortVia { port, endpoint }));
        }
    }
    for (name, (rules, endpoints)) in &new {
        let had_none = old.get(name).is_none_or(|(_, e)| e.is_empty());
        if had_none && !endpoints.is_empty() {
            found.extend(addresses(rules).into_iter().map(Stale::To));
            found.extend(rules.port.node_port.map(Stale::ToNodePort));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn addresses(rules: &ServiceRules) -> Vec<IpAddr> {
    let port = &rules.port;
    [port.cluster_ip].iter().chain(&port.external_ips).chain(&port.load_balancer_ips).copied().collect()
}

impl Stale {
    fn arguments(&self) -> Vec<String> {
        let list: [&str; 2] = ["-D", "-p"];
        let mut arguments: Vec<String> = list.iter().map(|a| (*a).to_owned()).collect();
        arguments.push("udp".to_owned());
        let (more, ip): (Vec<String>, Option<IpAddr>) = match self {
            Stale::Via { to, endpoint } => {
                (vec!["--orig-dst".into(), to.to_string(), "--dst-nat".into(), endpoint.to_string()], Some(*to))
            }
            Stale::NodePortVia { port, endpoint } => {
                (vec!["--dport".into(), port.to_string(), "--dst-nat".into(), endpoint.to_string()], Some(*endpoint))
            }
            Stale::To(ip) => (vec!["--orig-dst".into(), ip.to_string()], Some(*ip)),
            Stale::ToNodePort(port) => (vec!["--dport".into(), port.to_string()], None),
        };
        arguments.extend(more);
        if ip.is_some_and(|ip| ip.is_ipv6()) {
            arguments.extend(["-f".to_owned(), "ipv6".to_owned()]);
        }
        arguments
    }

    /// Deletes the entries.
    ///
    /// # Errors
    /// Where `conntrack` cannot be run or fails; that there were none is no failure.
    pub(crate) async fn delete(&self) -> Result<(), String> {
        let output = Command::new("conntrack").args(self.arguments()).stdin(Stdio::null()).output().await;
        let output = output.map_err(|error| format!("cannot run conntrack: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || said.contains("0 flow entries have been deleted") {
            return Ok(());
        }
        Err(format!("conntrack failed: {}", said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ServiceName, ServicePort};

    fn rules(protocol: &'static str, endpoints: &[&str]) -> Vec<ServiceRules> {
        let port = ServicePort {
            service: ServiceName { namespace: "d".into(), name: "dns".into() },
            port_name: String::new(),
            protocol,
            cluster_ip: "10.96.0.10".parse().unwrap(),
            port: 53,
            node_port: Some(30053),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity_seconds: None,
            internal_local: false,
            external_local: false,
            health_check_port: None,
        };
        let cluster: Vec<SocketAddr> = endpoints.iter().map(|e| format!("{e}:53").parse().unwrap()).collect();
        vec![ServiceRules { port, has_any: !cluster.is_empty(), cluster, local: Vec::new() }]
    }

    #[test]
    fn lost_endpoints_and_first_endpoints() {
        let arguments =
            |old: &[_], new: &[_]| stale(old, new).iter().map(|s| s.arguments().join(" ")).collect::<Vec<_>>();
        assert_eq!(
            arguments(&rules("udp", &["10.0.0.1", "10.0.0.2"]), &rules("udp", &["10.0.0.2"])),
            ["-D -p udp --orig-dst 10.96.0.10 --dst-nat 10.0.0.1", "-D -p udp --dport 30053 --dst-nat 10.0.0.1"]
        );
        assert_eq!(
            arguments(&rules("udp", &[]), &rules("udp", &["10.0.0.2"])),
            ["-D -p udp --orig-dst 10.96.0.10", "-D -p udp --dport 30053"]
        );
        assert!(arguments(&rules("tcp", &["10.0.0.1"]), &[]).is_empty());
        assert_eq!(stale(&rules("udp", &["10.0.0.1"]), &[]).len(), 2, "a deleted service loses all its endpoints");
    }
}
