//! Ports: which container port a service means, and which host ports a pod occupies.

use api_types::k8s_openapi::{
    api::core::v1::{Container, ContainerPort, Pod, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{pods, resources};

/// The protocol, `TCP` where none is named.
#[must_use]
pub fn protocol(protocol: Option<&str>) -> &str {
    protocol.filter(|p| !p.is_empty()).unwrap_or("TCP")
}

/// The number of the pod's port that the service port leads to; a name is looked up among the containers and sidecars.
#[must_use]
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => {
            let wanted = protocol(port.protocol.as_deref());
            let found = lasting_ports(pod)
                .find(|p| p.name.as_deref() == Some(name) && protocol(p.protocol.as_deref()) == wanted);
            found.map(|p| p.container_port)
        }
    }
}

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The address it is taken on; `0.0.0.0` is all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be taken at once.
    #[must_use]
    pub fn conflicts(&self, other: &HostPort) -> bool {
        const ALL: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ALL || other.ip == ALL)
    }
}

/// The host ports of the pod's containers and sidecars.
#[must_use]
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let ports = lasting_ports(pod).filter_map(|p| p.host_port.filter(|port| *port > 0).map(|port| (p, port)));
    ports
        .map(|(p, port)| HostPort {
            ip: p.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
            protocol: protocol(p.protocol.as_deref()).to_owned(),
            port,
        })
        .collect()
}

/// The ports of containers that run as long as the pod: its containers and sidecars.
fn lasting_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let init = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).map_or(0, Vec::len);
    let lasting = move |(index, container): (usize, &Container)| index >= init || resources::is_sidecar(container);
    pods::containers(pod).enumerate().filter(move |item| lasting(*item)).flat_map(|(_, c)| c.ports.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::k8s_openapi::api::core::v1::PodSpec;

    fn pod(host_port: Option<i32>) -> Pod {
        let port = ContainerPort { container_port: 8080, host_port, name: Some("http".into()), ..Default::default() };
        let container = |restart: Option<&str>, port| Container {
            ports: Some(vec![port]),
            restart_policy: restart.map(str::to_owned),
            ..Default::default()
        };
        let spec = PodSpec {
            containers: vec![container(None, port)],
            init_containers: Some(vec![
                container(
                    None,
                    ContainerPort {
                        container_port: 1,
                        host_port: Some(1),
                        name: Some("init".into()),
                        ..Default::default()
                    },
                ),
                container(
                    Some("Always"),
                    ContainerPort {
                        container_port: 2,
                        host_port: Some(2),
                        name: Some("side".into()),
                        ..Default::default()
                    },
                ),
            ]),
            ..Default::default()
        };
        Pod { spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn names_are_looked_up_among_lasting_containers() {
        let table = [
            (None, Some(80)),
            (Some(IntOrString::Int(90)), Some(90)),
            (Some(IntOrString::String("http".into())), Some(8080)),
            (Some(IntOrString::String("side".into())), Some(2)),
            (Some(IntOrString::String("init".into())), None),
        ];
        for (target, want) in table {
            let port = ServicePort { port: 80, target_port: target.clone(), ..Default::default() };
            assert_eq!(target_port(&pod(None), &port), want, "{target:?}");
        }
    }

    #[test]
    fn host_ports_conflict_on_overlapping_addresses() {
        let got = host_ports(&pod(Some(9000)));
        assert_eq!(got.iter().map(|p| p.port).collect::<Vec<_>>(), [2, 9000]);
        let port = |ip: &str, protocol: &str| HostPort { ip: ip.into(), protocol: protocol.into(), port: 9000 };
        assert!(got[1].conflicts(&port("10.0.0.1", "TCP")));
        assert!(!got[1].conflicts(&port("10.0.0.1", "UDP")));
        assert!(!port("10.0.0.1", "TCP").conflicts(&port("10.0.0.2", "TCP")));
    }
}
