//! Where the API server reaches a service that it is a client of: webhooks, aggregated API servers.

use serde_json::Value;

use crate::cell::CoreCell;

/// A port of a service, looked up for each connection.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) cell: CoreCell,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Whether it is reached at one of its endpoints (`--enable-aggregator-routing`), not at its own address.
    pub(crate) to_endpoints: bool,
}

impl Service {
    /// Host and port.
    ///
    /// # Errors
    /// Why there are none, in upstream's words.
    pub(crate) fn place(&self) -> Result<(String, u16), String> {
        let found = self.cell.cached("", "services", &self.namespace, &self.name).map_err(|e| e.message)?;
        let service = found.ok_or_else(|| format!("service {:?} not found", self.name))?;
        if !self.to_endpoints {
            return cluster_place(&service, self.port);
        }
        let slices = self.cell.list("discovery.k8s.io", "endpointslices", &self.namespace).map_err(|e| e.message)?;
        let places = endpoint_places(&service, self.port, slices.iter().map(AsRef::as_ref))?;
        let chosen = component_base::rng::range(0..places.len() as u64) as usize;
        Ok(places[chosen].clone())
    }
}

/// The service's port of this number.
fn port_of(service: &Value, port: u16) -> Result<&Value, String> {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let name = apiserver::meta::name(service);
    ports.find(|p| p["port"] == port).ok_or_else(|| format!("no service port {port} found for service {name:?}"))
}

/// Where a service is reached from everywhere in the cluster.
fn cluster_place(service: &Value, port: u16) -> Result<(String, u16), String> {
    let spec = &service["spec"];
    let text = |name: &str| spec[name].as_str().unwrap_or_default();
    match text("type") {
        "ClusterIP" if text("clusterIP") == "None" => Err("cannot route to service with ClusterIP \"None\"".to_owned()),
        "ClusterIP" | "NodePort" | "LoadBalancer" => {
            port_of(service, port).map(|_| (text("clusterIP").to_owned(), port))
        }
        "ExternalName" => Ok((text("externalName").to_owned(), port)),
        other => Err(format!("unsupported service type {other:?}")),
    }
}

/// The service's ready endpoints; at least one.
fn endpoint_places<'a>(
    service: &Value,
    port: u16,
    slices: impl Iterator<Item = &'a Value>,
) -> Result<Vec<(String, u16)>, String> {
    let name = apiserver::meta::name(service);
    let kind = service["spec"]["type"].as_str().unwrap_or_default();
    if kind == "ExternalName" {
        return Err(format!("unsupported service type {kind:?}"));
    }
    let wanted = port_of(service, port)?["name"].as_str().unwrap_or_default();
    let own = slices.filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name);
    let mut places = Vec::new();
    for slice in own {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let port = ports.find(|p| p["name"].as_str().unwrap_or_default() == wanted);
        let Some(port) = port.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else { continue };
        let ready = slice["endpoints"].as_array().into_iter().flatten().filter(|e| e["conditions"]["ready"] != false);
        places.extend(ready.filter_map(|e| Some((e["addresses"][0].as_str()?.to_owned(), port))));
    }
    if places.is_empty() { Err(format!("no endpoints available for service {name:?}")) } else { Ok(places) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "hook"}, "spec": spec})
    }

    #[test]
    fn services_lead_to_their_address() {
        let ports = json!([{"name": "https", "port": 443}]);
        for (spec, port, expected) in [
            (json!({"type": "ClusterIP", "clusterIP": "10.0.0.9", "ports": ports}), 443, Ok("10.0.0.9")),
            (json!({"type": "NodePort", "clusterIP": "10.0.0.9", "ports": ports}), 443, Ok("10.0.0.9")),
            (json!({"type": "ExternalName", "externalName": "hook.example"}), 443, Ok("hook.example")),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.9", "ports": ports}),
                444,
                Err("no service port 444 found for service \"hook\""),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": ports}),
                443,
                Err("cannot route to service with ClusterIP \"None\""),
            ),
        ] {
            let expected = expected.map(|host: &str| (host.to_owned(), port)).map_err(str::to_owned);
            assert_eq!(cluster_place(&service(spec), port), expected);
        }
    }

    #[test]
    fn services_lead_to_ready_endpoints() {
        let spec = json!({"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]});
        let slice = |of: &str, port: &str| {
            json!({
                "metadata": {"labels": {"kubernetes.io/service-name": of}},
                "ports": [{"name": port, "port": 9443}],
                "endpoints": [
                    {"addresses": ["10.1.0.1"], "conditions": {"ready": true}},
                    {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
                    {"addresses": ["10.1.0.3"]},
                ],
            })
        };
        let slices = [slice("hook", "https"), slice("hook", "other"), slice("another", "https")];
        let places = endpoint_places(&service(spec.clone()), 443, slices.iter());
        assert_eq!(places, Ok(vec![("10.1.0.1".to_owned(), 9443), ("10.1.0.3".to_owned(), 9443)]));
        let none = endpoint_places(&service(spec), 443, slices[1..].iter());
        assert_eq!(none, Err("no endpoints available for service \"hook\"".to_owned()));
    }
}
