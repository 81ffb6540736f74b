//! Load balancers: which address a service has, and which node the host sends its traffic to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use api_types::k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Node, PortStatus, Service};
use cloud_provider::CloudError;
use component_helpers::nodes;
use controller_runtime::{ObjectKey, Store};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    config::{LocalConfig, Range},
    network::Network,
};

/// How often nodes are asked whether they are well.
const PROBE_PERIOD: Duration = Duration::from_secs(2);
/// Where a node's service proxy answers.
const PROXY_HEALTH: (u16, &str) = (10256, "/healthz");

/// A service's load balancer.
#[derive(Clone, Debug)]
struct Balancer {
    address: Ipv4Addr,
    /// The nodes that may get its traffic.
    nodes: Vec<Ipv4Addr>,
    /// Where a node says whether it can serve.
    probe: (u16, &'static str),
    /// The node that gets it now.
    current: Option<Ipv4Addr>,
}

pub(super) struct Balancers {
    network: Arc<dyn Network>,
    services: Store<Service>,
    /// Held while a route is changed, so that the file, the map and the routing table agree.
    known: Mutex<BTreeMap<ObjectKey, Balancer>>,
}

/// The address in the service's status.
fn shown_address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.iter().find_map(|i| i.ip.as_ref()?.parse().ok())
}

/// The address for a service: the one that it has, the one that it asks for, or the first that is free.
fn choose_address(
    range: Range,
    service: &Service,
    known: Option<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
) -> Result<Ipv4Addr, String> {
    let asked = service.spec.as_ref().and_then(|s| s.load_balancer_ip.as_deref()).filter(|ip| !ip.is_empty());
    if let Some(asked) = asked {
        return match asked.parse() {
            Ok(ip) if range.contains(ip) && !taken.contains(&ip) => Ok(ip),
            _ => Err(format!("the requested address {asked} is taken or not in {}-{}", range.start, range.end)),
        };
    }
    let kept = known.or_else(|| shown_address(service)).filter(|ip| range.contains(*ip) && !taken.contains(ip));
    let free = || range.addresses().find(|ip| !taken.contains(ip));
    kept.or_else(free).ok_or_else(|| format!("no address is left in {}-{}", range.start, range.end))
}

/// The node that gets the traffic: the one that has it as long as it is well, else the first one that is.
/// When none is, the traffic stays where it is.
fn choose_node(nodes: &[Ipv4Addr], current: Option<Ipv4Addr>, healthy: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let current = current.filter(|node| nodes.contains(node));
    let well = |node: &Ipv4Addr| healthy.contains(node);
    current.filter(well).or_else(|| nodes.iter().copied().find(well)).or(current).or_else(|| nodes.first().copied())
}

impl Balancers {
    pub(super) fn new(network: Arc<dyn Network>, services: Store<Service>) -> Self {
        Balancers { network, services, known: Mutex::default() }
    }

    pub(super) async fn ensure(
        &self,
        config: &LocalConfig,
        service: &Service,
        nodes: &[Arc<Node>],
    ) -> Result<LoadBalancerStatus, CloudError> {
        let range = config.load_balancer_range.ok_or_else(|| CloudError::new("no loadBalancerRange is configured"))?;
        let key = ObjectKey::of(service);
        let mut known = self.known.lock().await;
        let others = self.services.list();
        let mut taken: BTreeSet<Ipv4Addr> =
            others.iter().filter(|s| ObjectKey::of(&***s) != key).filter_map(|s| shown_address(s)).collect();
        taken.extend(known.iter().filter(|(other, _)| **other != key).map(|(_, b)| b.address));
        let before = known.get(&key).cloned();
        let address =
            choose_address(range, service, before.as_ref().map(|b| b.address), &taken).map_err(CloudError::new)?;
        if let Some(old) =
            before.as_ref().map(|b| b.address).or_else(|| shown_address(service)).filter(|old| *old != address)
        {
            self.network.delete(None, &format!("{old}/32")).await?;
        }
        let balancer = Balancer {
            address,
            nodes: backends(config, nodes),
            probe: probe(service),
            current: before.filter(|b| b.address == address).and_then(|b| b.current),
        };
        let balancer = self.place(balancer).await?;
        known.insert(key, balancer);
        Ok(status(service, address))
    }

    /// Sends the traffic where it should go.
    async fn place(&self, mut balancer: Balancer) -> Result<Balancer, CloudError> {
        let mut healthy = BTreeSet::new();
        // The one that has it is asked first: as long as it is well, the others do not matter.
        let order = balancer.current.into_iter().chain(balancer.nodes.clone());
        for node in order.filter(|n| balancer.nodes.contains(n)) {
            let (port, path) = balancer.probe;
            if self.network.answers(node, port, path).await {
                healthy.insert(node);
                break;
            }
        }
        let chosen = choose_node(&balancer.nodes, balancer.current, &healthy);
        let destination = format!("{}/32", balancer.address);
        match chosen {
            Some(node) if balancer.current != Some(node) => {
                tracing::info!(address = %balancer.address, %node, "routing a load balancer");
                self.network.replace(None, &destination, node).await?;
            }
            Some(_) => {}
            None => self.network.delete(None, &destination).await?,
        }
        balancer.current = chosen;
        Ok(balancer)
    }

    pub(super) async fn delete(&self, service: &Service) -> Result<(), CloudError> {
        let mut known = self.known.lock().await;
        let address = known.get(&ObjectKey::of(service)).map(|b| b.address).or_else(|| shown_address(service));
        if let Some(address) = address {
            self.network.delete(None, &format!("{address}/32")).await?;
        }
        known.remove(&ObjectKey::of(service));
        Ok(())
    }

    pub(super) async fn watch_over(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PROBE_PERIOD) => {}
            }
            let keys: Vec<_> = self.known.lock().await.keys().cloned().collect();
            for key in keys {
                let mut known = self.known.lock().await;
                let Some(balancer) = known.get(&key).cloned() else { continue };
                match self.place(balancer).await {
                    Ok(balancer) => drop(known.insert(key, balancer)),
                    Err(error) => tracing::warn!(service = %key, %error, "could not move a load balancer"),
                }
            }
        }
    }
}

/// The addresses of the nodes' machines, in the nodes' order.
fn backends(config: &LocalConfig, nodes: &[Arc<Node>]) -> Vec<Ipv4Addr> {
    let address = |node: &Node| {
        let listed = nodes::addresses(node, "InternalIP").into_iter().find_map(|a| a.parse().ok());
        let name = node.metadata.name.as_deref()?;
        config.instances.iter().find(|i| i.name == name).map(|i| i.address).or(listed)
    };
    nodes.iter().filter_map(|n| address(n)).collect()
}

fn probe(service: &Service) -> (u16, &'static str) {
    let spec = service.spec.as_ref();
    let local = spec.is_some_and(|s| s.external_traffic_policy.as_deref() == Some("Local"));
    let port =
        spec.and_then(|s| s.health_check_node_port).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0 && local);
    port.map_or(PROXY_HEALTH, |port| (port, "/"))
}

fn status(service: &Service, address: Ipv4Addr) -> LoadBalancerStatus {
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_ref()).map(|ports| {
        let port = |p: &api_types::k8s_openapi::api::core::v1::ServicePort| PortStatus {
            port: p.port,
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            error: None,
        };
        ports.iter().map(port).collect()
    });
    let ingress =
        LoadBalancerIngress { ip: Some(address.to_string()), ip_mode: Some("VIP".to_owned()), ports, hostname: None };
    LoadBalancerStatus { ingress: Some(vec![ingress]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ip: Option<&str>, asked: Option<&str>) -> Service {
        let ingress = ip.map(|ip| vec![serde_json::json!({"ip": ip})]);
        serde_json::from_value(serde_json::json!({
            "spec": {"loadBalancerIP": asked}, "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    #[test]
    fn addresses() {
        let range = Range { start: "10.0.0.1".parse().unwrap(), end: "10.0.0.3".parse().unwrap() };
        let taken: BTreeSet<Ipv4Addr> = ["10.0.0.1".parse().unwrap()].into();
        let choose = |service: Service, known: Option<&str>| {
            choose_address(range, &service, known.map(|k| k.parse().unwrap()), &taken).map(|ip| ip.to_string())
        };
        assert_eq!(choose(service(None, None), None).as_deref(), Ok("10.0.0.2"));
        assert_eq!(choose(service(Some("10.0.0.3"), None), None).as_deref(), Ok("10.0.0.3"));
        assert_eq!(choose(service(Some("10.0.0.1"), None), None).as_deref(), Ok("10.0.0.2"), "taken by another");
        assert_eq!(choose(service(None, None), Some("10.0.0.3")).as_deref(), Ok("10.0.0.3"));
        assert_eq!(choose(service(None, Some("10.0.0.3")), Some("10.0.0.2")).as_deref(), Ok("10.0.0.3"));
        assert!(choose(service(None, Some("10.0.0.9")), None).is_err());
    }

    #[test]
    fn nodes() {
        let ip = |n: u8| Ipv4Addr::new(10, 0, 0, n);
        let nodes = [ip(1), ip(2), ip(3)];
        let choose = |current: Option<u8>, healthy: &[u8]| {
            choose_node(&nodes, current.map(ip), &healthy.iter().map(|n| ip(*n)).collect())
        };
        assert_eq!(choose(Some(2), &[1, 2]), Some(ip(2)), "no move without need");
        assert_eq!(choose(Some(2), &[3]), Some(ip(3)));
        assert_eq!(choose(Some(2), &[]), Some(ip(2)));
        assert_eq!(choose(Some(9), &[]), Some(ip(1)), "a node that left is not kept");
        assert_eq!(choose_node(&[], Some(ip(1)), &BTreeSet::new()), None);
    }
}
