//! Cells of services, endpoints and ingresses.

use jiff::Timestamp;
use serde_json::Value;

use super::text::{at, first_three, list, or, text};

pub(super) fn service_cluster_ip(service: &Value, _now: Timestamp) -> Value {
    let first = list(at(service, ".spec.clusterIPs")).find_map(Value::as_str);
    Value::from(or(first.unwrap_or_else(|| text(service, ".spec.clusterIP")), "<none>"))
}

fn load_balancer(object: &Value) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for ingress in list(at(object, ".status.loadBalancer.ingress")) {
        let ip = ingress["ip"].as_str().unwrap_or_default();
        let address = or(ip, ingress["hostname"].as_str().unwrap_or_default());
        if !address.is_empty() && !out.iter().any(|o| o == address) {
            out.push(address.to_owned());
        }
    }
    out.sort();
    out
}

pub(super) fn service_external_ip(service: &Value, _now: Timestamp) -> Value {
    let external: Vec<String> =
        list(at(service, ".spec.externalIPs")).filter_map(|ip| ip.as_str().map(str::to_owned)).collect();
    let shown = match text(service, ".spec.type") {
        "ExternalName" => text(service, ".spec.externalName").to_owned(),
        "LoadBalancer" => {
            let mut all = load_balancer(service);
            all.extend(external);
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&external.join(","), "<none>").to_owned(),
    };
    Value::from(shown)
}

pub(super) fn service_ports(service: &Value, _now: Timestamp) -> Value {
    let ports: Vec<String> = list(at(service, ".spec.ports"))
        .map(|port| {
            let number = port["port"].as_i64().unwrap_or(0);
            let protocol = port["protocol"].as_str().unwrap_or_default();
            match port["nodePort"].as_i64() {
                Some(node) if node > 0 => format!("{number}:{node}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    Value::from(or(&ports.join(","), "<none>"))
}

pub(super) fn endpoints(object: &Value, _now: Timestamp) -> Value {
    let mut all = Vec::new();
    let mut subsets = 0;
    for subset in list(at(object, ".subsets")) {
        subsets += 1;
        let ports: Vec<&Value> = list(&subset["ports"]).collect();
        for address in list(&subset["addresses"]) {
            let ip = address["ip"].as_str().unwrap_or_default();
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            let colon = ip.contains(':');
            for port in &ports {
                let number = port["port"].as_i64().unwrap_or(0);
                all.push(if colon { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") });
            }
        }
    }
    Value::from(if subsets == 0 { "<none>".to_owned() } else { first_three(&all, ",") })
}

pub(super) fn slice_ports(slice: &Value, _now: Timestamp) -> Value {
    let ports: Vec<String> = list(at(slice, ".ports"))
        .map(|port| match (port["name"].as_str().unwrap_or_default(), port["port"].as_i64()) {
            (_, Some(number)) => number.to_string(),
            ("", None) => "*".to_owned(),
            (name, None) => name.to_owned(),
        })
        .collect();
    Value::from(or(&first_three(&ports, ","), "<unset>"))
}

pub(super) fn slice_endpoints(slice: &Value, _now: Timestamp) -> Value {
    let addresses: Vec<String> = list(at(slice, ".endpoints"))
        .flat_map(|e| list(&e["addresses"]))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    Value::from(or(&first_three(&addresses, ","), "<unset>"))
}

pub(super) fn ingress_hosts(ingress: &Value, _now: Timestamp) -> Value {
    let hosts: Vec<String> = list(at(ingress, ".spec.rules"))
        .filter_map(|rule| rule["host"].as_str().filter(|h| !h.is_empty()).map(str::to_owned))
        .collect();
    Value::from(or(&first_three(&hosts, ","), "*"))
}

pub(super) fn ingress_address(ingress: &Value, _now: Timestamp) -> Value {
    Value::from(load_balancer(ingress).join(","))
}

pub(super) fn ingress_ports(ingress: &Value, _now: Timestamp) -> Value {
    let tls = list(at(ingress, ".spec.tls")).next().is_some();
    Value::from(if tls { "80, 443" } else { "80" })
}

pub(super) fn ingress_parameters(class: &Value, _now: Timestamp) -> Value {
    let parameters = at(class, ".spec.parameters");
    if parameters.is_null() {
        return Value::from("<none>");
    }
    let part = |name: &str| parameters[name].as_str().unwrap_or_default();
    let dot = if part("apiGroup").is_empty() { "" } else { "." };
    Value::from(format!("{}{dot}{}/{}", part("kind"), part("apiGroup"), part("name")))
}

pub(super) fn ip_parent(address: &Value, _now: Timestamp) -> Value {
    let parent = at(address, ".spec.parentRef");
    if parent.is_null() {
        return Value::from("<none>");
    }
    let part = |name: &str| parent[name].as_str().unwrap_or_default();
    let dot = if part("group").is_empty() { "" } else { "." };
    let resource = format!("{}{dot}{}", part("resource"), part("group"));
    Value::from(match part("namespace") {
        "" => format!("{resource}/{}", part("name")),
        namespace => format!("{resource}/{namespace}/{}", part("name")),
    })
}
