//! The environment variables that tell a container of the services in its namespace.

use api_types::k8s_openapi::api::core::v1::{Service, ServicePort};
use std::collections::BTreeMap;

/// The namespace whose `kubernetes` service every pod is told of.
const MASTER_NAMESPACE: &str = "default";
const MASTER_SERVICE: &str = "kubernetes";

/// Variables for a pod in `namespace`; without links only the API server's.
pub(crate) fn variables<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    // The pod's own namespace wins over the default namespace's "kubernetes".
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let master = home == MASTER_NAMESPACE && name == MASTER_SERVICE;
        if home == namespace && (links || master) {
            chosen.insert(name, service);
        } else if master {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut out = BTreeMap::new();
    for (name, service) in chosen {
        add(&mut out, name, service);
    }
    out
}

fn add(out: &mut BTreeMap<String, String>, name: &str, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let (false, Some(first)) = (ip.is_empty() || ip == "None", ports.first()) else { return };
    let prefix = variable_name(name);
    out.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    out.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            out.insert(format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string());
        }
    }
    out.insert(format!("{prefix}_PORT"), url(first, ip));
    for port in ports {
        let protocol = protocol(port);
        let prefix = format!("{prefix}_PORT_{}_{protocol}", port.port);
        out.insert(prefix.clone(), url(port, ip));
        out.insert(format!("{prefix}_PROTO"), protocol.to_ascii_lowercase());
        out.insert(format!("{prefix}_PORT"), port.port.to_string());
        out.insert(format!("{prefix}_ADDR"), ip.to_owned());
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn url(port: &ServicePort, ip: &str) -> String {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    format!("{}://{host}:{}", protocol(port).to_ascii_lowercase(), port.port)
}

fn variable_name(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn chooses_and_names() {
        let service = |namespace: &str, name: &str, ip: &str| -> Service {
            from_value(json!({"metadata": {"name": name, "namespace": namespace},
                "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "web-a", "protocol": "TCP"}]}}))
            .unwrap()
        };
        let all = [
            service("default", "kubernetes", "10.0.0.1"),
            service("n", "my-db", "10.0.0.2"),
            service("n", "none", "None"),
        ];
        let linked = variables(&all, "n", true);
        assert_eq!(linked["KUBERNETES_SERVICE_HOST"], "10.0.0.1");
        assert_eq!(linked["MY_DB_SERVICE_PORT_WEB_A"], "80");
        assert_eq!(linked["MY_DB_PORT_80_TCP"], "tcp://10.0.0.2:80");
        assert!(!linked.contains_key("NONE_SERVICE_HOST"));
        let unlinked = variables(&all, "n", false);
        assert!(unlinked.contains_key("KUBERNETES_PORT") && !unlinked.contains_key("MY_DB_PORT"));
    }
}
