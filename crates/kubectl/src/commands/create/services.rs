//! Generators of services and ingresses.

use serde_json::{Value, json};

use super::metadata;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::fail;

fn port(text: &str) -> Result<u16> {
    text.parse().map_err(|_| Error::Plain(format!("invalid port {text:?}: must be a number between 1 and 65535")))
}

fn ports(cx: &Context) -> Result<Vec<Value>> {
    let mut ports = Vec::new();
    for spec in cx.flags.list("tcp") {
        let (from, to) = spec.split_once(':').unwrap_or((&spec, &spec));
        let target = to.parse::<u16>().map_or_else(|_| json!(to), |n| json!(n));
        let mut entry =
            json!({"name": spec.replace(':', "-"), "port": port(from)?, "protocol": "TCP", "targetPort": target});
        let node_port = cx.flags.int("node-port");
        if node_port != 0 {
            entry["nodePort"] = json!(node_port);
        }
        ports.push(entry);
    }
    Ok(ports)
}

fn service(cx: &Context, name: &str, kind: &str) -> Result<Value> {
    let mut meta = metadata(name);
    meta["labels"] = json!({"app": name});
    let mut spec = json!({"type": kind, "selector": {"app": name}});
    let ports = ports(cx)?;
    let headless = cx.flags.text("clusterip") == "None";
    if ports.is_empty() && kind != "ExternalName" && !headless {
        fail!("at least one tcp port specifier must be provided");
    }
    if !ports.is_empty() {
        spec["ports"] = json!(ports);
    }
    if let Some(ip) = cx.flags.opt("clusterip") {
        spec["clusterIP"] = json!(ip);
    }
    Ok(json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}))
}

pub(super) fn clusterip(cx: &Context, name: &str) -> Result<Value> {
    service(cx, name, "ClusterIP")
}

pub(super) fn nodeport(cx: &Context, name: &str) -> Result<Value> {
    service(cx, name, "NodePort")
}

pub(super) fn loadbalancer(cx: &Context, name: &str) -> Result<Value> {
    service(cx, name, "LoadBalancer")
}

pub(super) fn externalname(cx: &Context, name: &str) -> Result<Value> {
    let external = cx.flags.require("external-name")?.to_owned();
    let mut object = service(cx, name, "ExternalName")?;
    object["spec"]["externalName"] = json!(external);
    Ok(object)
}

fn backend(text: &str) -> Result<Value> {
    let Some((name, port)) = text.split_once(':') else {
        fail!("default-backend should be in format servicename:serviceport")
    };
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |n| json!({"number": n}));
    Ok(json!({"service": {"name": name, "port": port}}))
}

pub(super) fn ingress(cx: &Context, name: &str) -> Result<Value> {
    let mut meta = metadata(name);
    for pair in cx.flags.array("annotation") {
        let Some((key, value)) = pair.split_once('=') else {
            fail!("annotation {pair} is invalid and should be in format key=[value]")
        };
        meta["annotations"][key] = json!(value);
    }
    let mut spec = json!({});
    if let Some(class) = cx.flags.opt("class") {
        spec["ingressClassName"] = json!(class);
    }
    if let Some(text) = cx.flags.opt("default-backend") {
        spec["defaultBackend"] = backend(text)?;
    }
    let rules = cx.flags.array("rule");
    if rules.is_empty() && cx.flags.opt("default-backend").is_none() {
        fail!(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)"
        );
    }
    let (mut hosts, mut tls): (Vec<(String, Vec<Value>)>, Vec<Value>) = (Vec::new(), Vec::new());
    for rule in rules {
        add_rule(rule, &mut hosts, &mut tls)?;
    }
    if !hosts.is_empty() {
        let rules: Vec<Value> = hosts
            .into_iter()
            .map(|(host, paths)| {
                if host.is_empty() {
                    json!({"http": {"paths": paths}})
                } else {
                    json!({"host": host, "http": {"paths": paths}})
                }
            })
            .collect();
        spec["rules"] = json!(rules);
    }
    if !tls.is_empty() {
        spec["tls"] = json!(tls);
    }
    Ok(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}

/// `host/path=service:port[,tls[=secret]]`; a path that ends in `*` matches by prefix.
fn add_rule(rule: &str, hosts: &mut Vec<(String, Vec<Value>)>, tls: &mut Vec<Value>) -> Result<()> {
    let bad = || {
        Error::Plain(format!("rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"))
    };
    let (place, rest) = rule.split_once('=').ok_or_else(bad)?;
    let (target, option) = rest.split_once(',').map_or((rest, None), |(t, o)| (t, Some(o)));
    let (host, path) = place.split_once('/').ok_or_else(bad)?;
    let (path, kind) = path.strip_suffix('*').map_or((path, "Exact"), |p| (p, "Prefix"));
    let entry = json!({"path": format!("/{path}"), "pathType": kind, "backend": backend(target).map_err(|_| bad())?});
    match hosts.iter_mut().find(|(h, _)| h == host) {
        Some((_, paths)) => paths.push(entry),
        None => hosts.push((host.to_owned(), vec![entry])),
    }
    if let Some(option) = option {
        let secret = option.strip_prefix("tls").ok_or_else(bad)?.trim_start_matches('=');
        let mut one = json!({});
        if !host.is_empty() {
            one["hosts"] = json!([host]);
        }
        if !secret.is_empty() {
            one["secretName"] = json!(secret);
        }
        if !tls.contains(&one) {
            tls.push(one);
        }
    }
    Ok(())
}
