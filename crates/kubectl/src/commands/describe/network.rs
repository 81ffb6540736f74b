//! Services, endpoints and ingresses.

use serde_json::Value;

use super::{Page, head, selector_text};
use crate::cli::context::Context;
use crate::client::Query;
use crate::error::Result;
use crate::output::plain;
use crate::resource::list;

pub(super) async fn service(cx: &Context, page: &mut Page, object: &Value) -> Result<bool> {
    let (metadata, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    head(page, object);
    let selector = selector_text(&spec["selector"]).filter(|s| !s.is_empty());
    page.field(0, "Selector", selector.unwrap_or_else(|| "<none>".to_owned()));
    page.field(0, "Type", plain(&spec["type"]));
    page.field_if(0, "IP Family Policy", &spec["ipFamilyPolicy"]);
    let join = |value: &Value| value.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(",");
    let families = join(&spec["ipFamilies"]);
    if !families.is_empty() {
        page.field(0, "IP Families", families);
    }
    page.field(0, "IP", plain(&spec["clusterIP"]));
    let ips = join(&spec["clusterIPs"]);
    page.field(0, "IPs", if ips.is_empty() { "<none>" } else { &ips });
    let external = join(&spec["externalIPs"]);
    if !external.is_empty() {
        page.field(0, "External IPs", external);
    }
    page.field_if(0, "Desired LoadBalancer IP", &spec["loadBalancerIP"]);
    page.field_if(0, "External Name", &spec["externalName"]);
    let ingress: Vec<String> =
        status["loadBalancer"]["ingress"].as_array().into_iter().flatten().map(load_balancer).collect();
    if !ingress.is_empty() {
        page.field(0, "LoadBalancer Ingress", ingress.join(", "));
    }
    let slices = slices(cx, metadata).await?;
    for port in spec["ports"].as_array().into_iter().flatten() {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let name = port["name"].as_str().filter(|n| !n.is_empty());
        page.field(0, "Port", format!("{}\t{}/{protocol}", name.unwrap_or("<unset>"), plain(&port["port"])));
        page.field(0, "TargetPort", format!("{}/{protocol}", plain(&port["targetPort"])));
        if port["nodePort"].as_i64().is_some_and(|p| p != 0) {
            page.field(
                0,
                "NodePort",
                format!("{}\t{}/{protocol}", name.unwrap_or("<unset>"), plain(&port["nodePort"])),
            );
        }
        page.field(0, "Endpoints", endpoints_of(&slices, name.unwrap_or_default()));
    }
    page.field(0, "Session Affinity", plain(&spec["sessionAffinity"]));
    page.field_if(0, "External Traffic Policy", &spec["externalTrafficPolicy"]);
    page.field_if(0, "Internal Traffic Policy", &spec["internalTrafficPolicy"]);
    if spec["healthCheckNodePort"].as_i64().is_some_and(|p| p != 0) {
        page.field(0, "HealthCheck NodePort", plain(&spec["healthCheckNodePort"]));
    }
    Ok(true)
}

fn load_balancer(ingress: &Value) -> String {
    let ip = plain(&ingress["ip"]);
    if ip.is_empty() {
        return plain(&ingress["hostname"]);
    }
    match ingress["ipMode"].as_str() {
        Some(mode) => format!("{ip} ({mode})"),
        None => ip,
    }
}

async fn slices(cx: &Context, metadata: &Value) -> Result<Vec<Value>> {
    let Some(resource) = cx.find_resource("endpointslices.discovery.k8s.io").await? else { return Ok(Vec::new()) };
    let query =
        Query::default().with("labelSelector", format!("kubernetes.io/service-name={}", plain(&metadata["name"])));
    let found = list(cx, &resource, metadata["namespace"].as_str(), &query, 500).await?;
    Ok(found["items"].as_array().cloned().unwrap_or_default())
}

/// The ready endpoints of a port: three of them, and how many more there are.
fn endpoints_of(slices: &[Value], port_name: &str) -> String {
    if slices.is_empty() {
        return "<none>".to_owned();
    }
    let mut found = Vec::new();
    for slice in slices {
        let port = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|p| p["name"].as_str().unwrap_or_default() == port_name);
        let Some(port) = port else { continue };
        for endpoint in
            slice["endpoints"].as_array().into_iter().flatten().filter(|e| e["conditions"]["ready"] != false)
        {
            let addresses = endpoint["addresses"].as_array().into_iter().flatten().map(plain);
            found.extend(addresses.map(|a| {
                if a.contains(':') { format!("[{a}]:{}", port["port"]) } else { format!("{a}:{}", port["port"]) }
            }));
        }
    }
    found.sort();
    match found.len() {
        0 => String::new(),
        n if n > 3 => format!("{} + {} more...", found[..3].join(","), n - 3),
        _ => found.join(","),
    }
}

pub(super) fn endpoints(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.line(0, "Subsets:");
    for subset in object["subsets"].as_array().into_iter().flatten() {
        for (label, key) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let ips: Vec<String> = subset[key].as_array().into_iter().flatten().map(|a| plain(&a["ip"])).collect();
            page.field(1, label, if ips.is_empty() { "<none>".to_owned() } else { ips.join(",") });
        }
        if let Some(ports) = subset["ports"].as_array().filter(|p| !p.is_empty()) {
            page.line(1, "Ports:");
            page.line(2, "Name\tPort\tProtocol");
            page.line(2, "----\t----\t--------");
            for port in ports {
                page.line(
                    2,
                    &format!(
                        "{}\t{}\t{}",
                        port["name"].as_str().unwrap_or("<unset>"),
                        plain(&port["port"]),
                        plain(&port["protocol"])
                    ),
                );
            }
        }
        page.line(0, "");
    }
    true
}

pub(super) fn endpoint_slice(page: &mut Page, object: &Value) -> bool {
    head(page, object);
    page.field(0, "AddressType", plain(&object["addressType"]));
    match object["ports"].as_array().filter(|p| !p.is_empty()) {
        None => page.field(0, "Ports", "<unset>"),
        Some(ports) => {
            page.line(0, "Ports:");
            page.line(1, "Name\tPort\tProtocol");
            page.line(1, "----\t----\t--------");
            for port in ports {
                let name = port["name"].as_str().filter(|n| !n.is_empty()).unwrap_or("<unset>");
                page.line(1, &format!("{name}\t{}\t{}", plain(&port["port"]), plain(&port["protocol"])));
            }
        }
    }
    let Some(list) = object["endpoints"].as_array().filter(|e| !e.is_empty()) else {
        page.line(0, "Endpoints: <none>");
        return true;
    };
    page.line(0, "Endpoints:");
    for endpoint in list {
        let addresses: Vec<String> = endpoint["addresses"].as_array().into_iter().flatten().map(plain).collect();
        page.line(1, &format!("- Addresses:\t{}", addresses.join(", ")));
        page.line(2, "Conditions:");
        let ready = &endpoint["conditions"]["ready"];
        page.field(3, "Ready", if ready.is_null() { "<unset>".to_owned() } else { plain(ready) });
        let or_unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { plain(value) };
        page.field(2, "Hostname", or_unset(&endpoint["hostname"]));
        if endpoint["targetRef"].is_object() {
            page.field(
                2,
                "TargetRef",
                format!("{}/{}", plain(&endpoint["targetRef"]["kind"]), plain(&endpoint["targetRef"]["name"])),
            );
        }
        page.field(2, "NodeName", or_unset(&endpoint["nodeName"]));
        page.field(2, "Zone", or_unset(&endpoint["zone"]));
    }
    true
}

fn backend(backend: &Value) -> String {
    if backend["service"].is_object() {
        let port = &backend["service"]["port"];
        let port = if port["name"].is_string() { plain(&port["name"]) } else { plain(&port["number"]) };
        return format!("{}:{port}", plain(&backend["service"]["name"]));
    }
    let resource = &backend["resource"];
    format!(
        "APIGroup: {}, Kind: {}, Name: {}",
        plain(&resource["apiGroup"]),
        plain(&resource["kind"]),
        plain(&resource["name"])
    )
}

pub(super) fn ingress(page: &mut Page, object: &Value) -> bool {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    page.field(0, "Name", plain(&metadata["name"]));
    page.labels(0, "Labels", &metadata["labels"]);
    page.field(0, "Namespace", plain(&metadata["namespace"]));
    let addresses: Vec<String> =
        object["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten().map(load_balancer).collect();
    page.field(0, "Address", addresses.join(","));
    let class = plain(&spec["ingressClassName"]);
    page.field(0, "Ingress Class", if class.is_empty() { "<none>" } else { &class });
    let default =
        if spec["defaultBackend"].is_object() { backend(&spec["defaultBackend"]) } else { "<default>".to_owned() };
    page.field(0, "Default backend", default);
    if let Some(tls) = spec["tls"].as_array().filter(|t| !t.is_empty()) {
        page.line(0, "TLS:");
        for entry in tls {
            let hosts: Vec<String> = entry["hosts"].as_array().into_iter().flatten().map(plain).collect();
            match entry["secretName"].as_str() {
                Some(secret) => page.line(1, &format!("{secret} terminates {}", hosts.join(","))),
                None => page.line(1, &format!("SNI routes {}", hosts.join(","))),
            }
        }
    }
    page.line(0, "Rules:");
    page.line(1, "Host\tPath\tBackends");
    page.line(1, "----\t----\t--------");
    for rule in spec["rules"].as_array().into_iter().flatten() {
        page.line(1, &format!("{}\t", rule["host"].as_str().unwrap_or("*")));
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            page.line(2, &format!("\t{} \t{}", plain(&path["path"]), backend(&path["backend"])));
        }
    }
    page.annotations(0, &metadata["annotations"]);
    true
}
