//! Service: a stable address in front of pods.

use serde_json::{Value, json};

use crate::defaults::{each, ensure, has, set, set_zero, text};
use crate::kind::Kind;

pub(crate) static KIND: Kind = Kind { initial_status: Some(|| json!({"loadBalancer": {}})), default, ..Kind::PLAIN };

fn default(service: &mut Value) {
    ensure(ensure(service, "status"), "loadBalancer");
    let spec = ensure(service, "spec");
    set_zero(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "None" {
        crate::defaults::drop_key(spec, "sessionAffinityConfig");
    } else if text(spec, "sessionAffinity") == "ClientIP" {
        let config = ensure(spec, "sessionAffinityConfig");
        set(ensure(config, "clientIP"), "timeoutSeconds", 10800);
    }
    set_zero(spec, "type", "ClusterIP");
    each(spec, "ports", port);
    let kind = text(spec, "type").to_owned();
    let node_ports = kind == "NodePort" || kind == "LoadBalancer";
    let external = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|a| !a.is_empty());
    if node_ports || (kind == "ClusterIP" && external) {
        set_zero(spec, "externalTrafficPolicy", "Cluster");
    }
    if node_ports || kind == "ClusterIP" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" && !has(spec, "allocateLoadBalancerNodePorts") {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn port(port: &mut Value) {
    set_zero(port, "protocol", "TCP");
    let number = port.get("port").cloned().unwrap_or_else(|| json!(0));
    set(port, "port", 0);
    set_zero(port, "targetPort", number);
}
