//! What traffic goes where: services and endpoints, as seen from one node, independent of the packet filter that does it.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::model::{Endpoint, Family, Node, ServiceName, ServicePort, World, endpoints, service_ports};

/// All service ports of the node.
pub type RuleSet = BTreeMap<ServiceName, Vec<ServiceRules>>;

/// A service port and where its traffic goes from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// The port.
    pub port: ServicePort,
    /// Where traffic goes that may go anywhere.
    pub cluster: Vec<SocketAddr>,
    /// Where traffic goes that stays on the node.
    pub local: Vec<SocketAddr>,
    /// Whether there is an endpoint anywhere that takes traffic.
    pub has_any: bool,
}

impl ServiceRules {
    /// Whether traffic from inside the cluster has somewhere to go.
    #[must_use]
    pub fn has_internal(&self) -> bool {
        !(if self.port.internal_local { &self.local } else { &self.cluster }).is_empty()
    }

    /// Whether traffic from outside the cluster has somewhere to go.
    #[must_use]
    pub fn has_external(&self) -> bool {
        !(if self.port.external_local { &self.local } else { &self.cluster }).is_empty()
    }

    /// Every endpoint in use, each once, in order.
    #[must_use]
    pub fn reachable(&self) -> Vec<SocketAddr> {
        let mut all: Vec<_> = self.cluster.iter().chain(&self.local).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The rules of one service.
#[must_use]
pub fn compile_service(world: &World, name: &ServiceName, family: Family, node: &Node) -> Vec<ServiceRules> {
    let Some(service) = world.service(name) else { return Vec::new() };
    let ports = service_ports(service, family).into_iter();
    ports.map(|port| choose(endpoints(world.slices(name), &port, family, node), port, node)).collect()
}

/// The rules of all services.
#[must_use]
pub fn compile(world: &World, family: Family, node: &Node) -> RuleSet {
    let each = world.names().into_iter().map(|name| {
        let rules = compile_service(world, &name, family, node);
        (name, rules)
    });
    each.filter(|(_, rules)| !rules.is_empty()).collect()
}

/// How many endpoints on this node take a service's traffic: what its health check answers.
#[must_use]
pub fn local_ready(world: &World, name: &ServiceName, family: Family, node: &Node) -> usize {
    let Some(service) = world.service(name) else { return 0 };
    let ports = service_ports(service, family);
    let local = ports
        .iter()
        .flat_map(|port| endpoints(world.slices(name), port, family, node))
        .filter(|e| e.is_local && e.is_ready);
    let mut ips: Vec<_> = local.map(|e| e.address.ip()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips.len()
}

fn choose(all: Vec<Endpoint>, port: ServicePort, node: &Node) -> ServiceRules {
    let has_any = usable(&all, |_| true).next().is_some();
    let addresses = |endpoints: Vec<&Endpoint>| endpoints.into_iter().map(|e| e.address).collect();
    let cluster = if port.uses_cluster_endpoints() { addresses(near(&all, node)) } else { Vec::new() };
    let local = if port.uses_local_endpoints() {
        usable(&all, |e| e.is_local).map(|e| e.address).collect()
    } else {
        Vec::new()
    };
    ServiceRules { port, cluster, local, has_any }
}

/// The ready endpoints, or, where there are none, those that still serve while they end.
fn usable(all: &[Endpoint], wanted: impl Fn(&Endpoint) -> bool + Copy) -> impl Iterator<Item = &Endpoint> {
    let any_ready = all.iter().any(|e| wanted(e) && e.is_ready);
    all.iter().filter(move |e| wanted(e) && if any_ready { e.is_ready } else { e.is_serving && e.is_terminating })
}

/// The endpoints meant for this node, or for its zone, where every ready endpoint says whom it is meant for.
fn near<'a>(all: &'a [Endpoint], node: &Node) -> Vec<&'a Endpoint> {
    let ready = || all.iter().filter(|e| e.is_ready);
    let hinted = |hints: fn(&Endpoint) -> &[String], own: Option<&String>| -> Option<Vec<&'a Endpoint>> {
        let own = own?;
        let complete = ready().next().is_some() && ready().all(|e| !hints(e).is_empty());
        let ours: Vec<_> = ready().filter(|e| hints(e).contains(own)).collect();
        (complete && !ours.is_empty()).then_some(ours)
    };
    hinted(Endpoint::nodes, Some(&node.name))
        .or_else(|| hinted(Endpoint::zones, node.zone.as_ref()))
        .unwrap_or_else(|| usable(all, |_| true).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn world(service: Value, endpoints: Value) -> World {
        let mut world = World::default();
        let service = json!({"metadata": {"name": "s", "namespace": "d"}, "spec": service});
        world.set_service(Arc::new(serde_json::from_value(service).unwrap()));
        let slice = json!({"metadata": {"name": "s-1", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints});
        world.set_slice(Arc::new(serde_json::from_value(slice).unwrap()));
        world
    }

    fn rules(service: Value, endpoints: Value) -> ServiceRules {
        let mut spec = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(service.as_object().unwrap().clone());
        let node = Node { name: "n1".into(), zone: Some("a".into()), ..Node::default() };
        let name = ServiceName { namespace: "d".into(), name: "s".into() };
        compile_service(&world(spec, endpoints), &name, Family::V4, &node).remove(0)
    }

    fn ips(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(|a| a.ip().to_string()).collect()
    }

    #[test]
    fn ready_ones_and_else_those_that_still_serve() {
        let endpoint = |ip: &str, ready: bool, serving: bool, terminating: bool| json!({"addresses": [ip], "conditions": {"ready": ready, "serving": serving, "terminating": terminating}});
        let got =
            rules(json!({}), json!([endpoint("10.0.0.1", true, true, false), endpoint("10.0.0.2", false, true, true)]));
        assert_eq!(ips(&got.cluster), ["10.0.0.1"]);
        let got = rules(
            json!({}),
            json!([endpoint("10.0.0.1", false, false, false), endpoint("10.0.0.2", false, true, true)]),
        );
        assert_eq!(ips(&got.cluster), ["10.0.0.2"]);
        let got = rules(json!({}), json!([endpoint("10.0.0.1", false, false, true)]));
        assert!(got.cluster.is_empty() && !got.has_any);
    }

    #[test]
    fn local_policies_keep_local_endpoints_apart() {
        let endpoints =
            json!([{"addresses": ["10.0.0.1"], "nodeName": "n1"}, {"addresses": ["10.0.0.2"], "nodeName": "n2"}]);
        let got = rules(json!({"internalTrafficPolicy": "Local"}), endpoints.clone());
        assert_eq!((ips(&got.local), ips(&got.cluster)), (vec!["10.0.0.1".to_owned()], vec![]));
        let spec =
            json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30000}]});
        let got = rules(spec, endpoints);
        assert_eq!((got.local.len(), got.cluster.len()), (1, 2));
    }

    #[test]
    fn hints_count_when_complete_and_of_use() {
        let hinted = |ip: &str, zone: &str| json!({"addresses": [ip], "hints": {"forZones": [{"name": zone}]}});
        let got = rules(json!({}), json!([hinted("10.0.0.1", "a"), hinted("10.0.0.2", "b")]));
        assert_eq!(ips(&got.cluster), ["10.0.0.1"]);
        let got = rules(json!({}), json!([hinted("10.0.0.1", "a"), {"addresses": ["10.0.0.2"]}]));
        assert_eq!(got.cluster.len(), 2, "one without a hint voids all");
        let got = rules(json!({}), json!([hinted("10.0.0.1", "b"), hinted("10.0.0.2", "c")]));
        assert_eq!(got.cluster.len(), 2, "none for this zone");
        let here = json!({"addresses": ["10.0.0.3"], "hints": {"forNodes": [{"name": "n1"}]}});
        let there = json!({"addresses": ["10.0.0.4"], "hints": {"forNodes": [{"name": "n2"}]}});
        assert_eq!(ips(&rules(json!({}), json!([here, there])).cluster), ["10.0.0.3"]);
    }

    #[test]
    fn others_services_are_left_alone() {
        let node = Node::default();
        for spec in [json!({"type": "ExternalName"}), json!({"clusterIP": "None", "clusterIPs": ["None"]}), json!({})] {
            assert!(compile(&world(spec, json!([])), Family::V4, &node).is_empty());
        }
        let v4 = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]});
        assert!(compile(&world(v4.clone(), json!([])), Family::V6, &node).is_empty());
        assert_eq!(compile(&world(v4, json!([])), Family::V4, &node).len(), 1);
    }
}
