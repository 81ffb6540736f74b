//! Service: a stable address in front of pods.

use api_types::{FieldError, FieldErrorKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

use crate::defaults::{drop_key, each, ensure, has, keep, set, set_zero, text};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::object_meta::{self, dns_label};
use crate::strategy::{Context, Part};
use crate::{checks, names};

pub(crate) static KIND: Kind = Kind {
    initial_status: Some(|| json!({"loadBalancer": {}})),
    default,
    name: dns_label,
    validate,
    validate_change,
    prepare_create,
    prepare_update,
    warnings,
    ..Kind::PLAIN
};

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
    if kind == "LoadBalancer" {
        each(ensure(ensure(service, "status"), "loadBalancer"), "ingress", ingress);
    }
}

/// An address of a load balancer is a virtual one unless its provider says otherwise.
fn ingress(ingress: &mut Value) {
    if !text(ingress, "ip").is_empty() {
        set(ingress, "ipMode", "VIP");
    }
}

fn port(port: &mut Value) {
    set_zero(port, "protocol", "TCP");
    let number = port.get("port").cloned().unwrap_or_else(|| json!(0));
    set(port, "port", 0);
    set_zero(port, "targetPort", number);
}

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const ONLY_LOAD_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";

fn validate(service: &Field, errors: &mut Errors) {
    let spec = service.get("spec");
    let kind = spec.str_of("type");
    if spec.get("ports").is_empty() && !headless(&spec) && kind != "ExternalName" {
        errors.required(&spec.get("ports"), "");
    }
    by_type(&spec, errors);
    ports(&spec, errors);
    object_meta::labels(&spec.get("selector"), errors);
    session_affinity(&spec, errors);
    for address in spec.get("externalIPs").items() {
        checks::ip(&address, errors);
    }
    checks::required_one_of(&spec.get("type"), &TYPES, errors);
    source_ranges(service, &spec, errors);
    load_balancer_fields(&spec, errors);
    external_policy(&spec, errors);
    internal_policy(&spec, errors);
    cluster_ips(&spec, errors);
    let distribution = spec.get("trafficDistribution");
    checks::optional_one_of(&distribution, &["PreferClose", "PreferSameZone", "PreferSameNode"], errors);
}

fn headless(spec: &Field) -> bool {
    spec.str_of("clusterIP") == "None"
}

fn externally_accessible(spec: &Field) -> bool {
    match spec.str_of("type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.get("externalIPs").is_empty(),
        _ => false,
    }
}

fn by_type(spec: &Field, errors: &mut Errors) {
    match spec.str_of("type") {
        "LoadBalancer" | "NodePort" if headless(spec) => {
            errors.invalid_as(
                &spec.get("clusterIPs").items().next().unwrap_or_else(|| spec.get("clusterIPs")),
                "None",
                format!("may not be set to 'None' for {} services", spec.str_of("type")),
            );
        }
        "ExternalName" => {
            for name in ["clusterIPs", "ipFamilies"] {
                if !spec.get(name).is_empty() {
                    errors.forbidden(&spec.get(name), "may not be set for ExternalName services");
                }
            }
            let policy = spec.get("ipFamilyPolicy");
            if policy.exists() {
                errors.forbidden(&policy, "may not be set for ExternalName services");
            }
            let name = spec.get("externalName");
            if name.str().is_empty() {
                errors.required(&name, "");
            } else {
                errors
                    .invalid_each(&name, names::dns1123_subdomain(name.str().strip_suffix('.').unwrap_or(name.str())));
            }
        }
        _ => {}
    }
}

fn ports(spec: &Field, errors: &mut Errors) {
    let list = spec.get("ports");
    let mut port_names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for port in list.items() {
        port_name(&port, list.len() > 1, &mut port_names, errors);
        checks::port_number(&port.get("port"), errors);
        checks::required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], errors);
        checks::port_or_name(&port.get("targetPort"), errors);
        let protocol = port.get("appProtocol");
        if protocol.exists() {
            errors.invalid_each(&protocol, names::qualified_name(protocol.str()));
        }
        let node = port.get("nodePort");
        if node.int_or_zero() != 0 {
            if matches!(spec.str_of("type"), "ClusterIP" | "ExternalName") {
                errors.forbidden(&node, format!("may not be used when `type` is '{}'", spec.str_of("type")));
            } else if !node_ports.insert((port.str_of("protocol"), node.int_or_zero())) {
                errors.duplicate(&node);
            }
        }
        if !numbers.insert((port.str_of("protocol"), port.get("port").int_or_zero())) {
            let key = go_port(&port);
            errors.push(FieldError {
                kind: FieldErrorKind::Duplicate,
                field: port.path().clone(),
                message: format!("Duplicate value: {key}"),
            });
        }
    }
}

/// Upstream's key of a port: its protocol and number, everything else zero.
fn go_port(port: &Field) -> String {
    format!(
        "{{\"Name\":\"\",\"Protocol\":\"{}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
        port.str_of("protocol"),
        port.get("port").int_or_zero()
    )
}

fn port_name<'a>(port: &Field<'a>, required: bool, seen: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = port.get("name");
    if name.str().is_empty() {
        if required {
            errors.required(&name, "");
        }
        return;
    }
    errors.invalid_each(&name, names::dns1123_label(name.str()));
    if !seen.insert(name.str()) {
        errors.duplicate(&name);
    }
}

fn session_affinity(spec: &Field, errors: &mut Errors) {
    let affinity = spec.get("sessionAffinity");
    checks::required_one_of(&affinity, &["ClientIP", "None"], errors);
    let config = spec.get("sessionAffinityConfig");
    match affinity.str() {
        "ClientIP" => {
            let seconds = config.dig("clientIP.timeoutSeconds");
            if !config.exists() || !config.has("clientIP") || !seconds.exists() {
                errors.required(&config, "when session affinity type is ClientIP");
            } else if !(1..=86400).contains(&seconds.int_or_zero()) {
                errors.invalid(&seconds, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.exists() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

/// Upstream spells the field as in Go.
fn source_ranges(service: &Field, spec: &Field, errors: &mut Errors) {
    let list = spec.get("loadBalancerSourceRanges");
    if !list.is_empty() {
        let shown = Field::at(list.value(), spec.path().child("LoadBalancerSourceRanges"));
        if spec.str_of("type") != "LoadBalancer" {
            errors.forbidden(&shown, ONLY_LOAD_BALANCERS);
        }
        for range in shown.items() {
            if names::cidr(range.str().trim()).is_none() {
                errors.invalid_str(&range, names::INVALID_CIDR);
            }
        }
        return;
    }
    let annotation =
        service.dig("metadata.annotations").entry("service.beta.kubernetes.io/load-balancer-source-ranges");
    if annotation.str().trim().is_empty() {
        return;
    }
    if spec.str_of("type") != "LoadBalancer" {
        errors.forbidden(&annotation, ONLY_LOAD_BALANCERS);
    }
    for part in annotation.str().split(',') {
        if names::cidr(part.trim()).is_none() {
            errors.invalid(&annotation, names::INVALID_CIDR);
        }
    }
}

fn load_balancer_fields(spec: &Field, errors: &mut Errors) {
    let balancer = spec.str_of("type") == "LoadBalancer";
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if balancer && !allocate.exists() {
        errors.required(&allocate, "");
    }
    if !balancer && allocate.exists() {
        errors.forbidden(&allocate, ONLY_LOAD_BALANCERS);
    }
    let class = spec.get("loadBalancerClass");
    if !class.exists() {
        return;
    }
    if !balancer {
        errors.forbidden(&class, ONLY_LOAD_BALANCERS);
    }
    errors.invalid_each(&class, names::qualified_name(class.str()));
}

fn external_policy(spec: &Field, errors: &mut Errors) {
    let policy = spec.get("externalTrafficPolicy");
    if externally_accessible(spec) {
        checks::required_one_of(&policy, &POLICIES, errors);
    } else if !policy.str().is_empty() {
        errors.invalid(&policy, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if health.int_or_zero() != 0 && !(spec.str_of("type") == "LoadBalancer" && policy.str() == "Local") {
        errors.invalid(&health, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'");
    }
}

fn internal_policy(spec: &Field, errors: &mut Errors) {
    let policy = spec.get("internalTrafficPolicy");
    if policy.exists() {
        checks::one_of(&policy, &POLICIES, errors);
    } else if matches!(spec.str_of("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.required(&policy, "");
    }
}

fn cluster_ips(spec: &Field, errors: &mut Errors) {
    let (single, list) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    if spec.str_of("type") == "ExternalName" {
        return;
    }
    for family in spec.get("ipFamilies").items() {
        checks::one_of(&family, &["IPv4", "IPv6"], errors);
    }
    let policy = spec.get("ipFamilyPolicy");
    checks::optional_one_of(&policy, &["SingleStack", "PreferDualStack", "RequireDualStack"], errors);
    let first = list.items().next();
    if !single.str().is_empty() && list.is_empty() {
        errors.required(&list, "");
    } else if let Some(first) = &first
        && first.str() != single.str()
    {
        errors.invalid(&list, "first value must match `clusterIP`");
    }
    if list.len() > 2 {
        errors.invalid(&list, "may only hold up to 2 values");
    }
    for address in list.items() {
        if address.str() == "None" || address.str().is_empty() {
            if list.len() > 1 {
                errors.invalid(&address, "must be a valid IP");
            }
        } else {
            checks::ip(&address, errors);
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    let external = |s: &Field| s.str_of("type") == "ExternalName";
    if !external(&old_spec) && !external(&spec) {
        upgrade_ips(&spec, &old_spec, errors);
    }
    let class = spec.get("loadBalancerClass");
    let kept = old_spec.str_of("type") == "LoadBalancer" && spec.str_of("type") == "LoadBalancer";
    if kept && !checks::same(&class, &old_spec.get("loadBalancerClass")) {
        errors.invalid(&class, "may not change once set");
        // A class that is new to the service is looked at once more.
        if class.exists() {
            errors.invalid_each(&class, names::qualified_name(class.str()));
        }
    }
}

/// The primary address never changes, and families are added or dropped only at the end.
fn upgrade_ips(spec: &Field, old: &Field, errors: &mut Errors) {
    let (new_ips, old_ips) = (spec.get("clusterIPs"), old.get("clusterIPs"));
    if let (Some(first), Some(before)) = (new_ips.items().next(), old_ips.items().next())
        && first.str() != before.str()
        && names::ip(first.str()).is_some()
    {
        errors.invalid(&new_ips, "may not change once set");
    }
    let (families, old_families) = (spec.get("ipFamilies"), old.get("ipFamilies"));
    if let (Some(first), Some(before)) = (families.items().next(), old_families.items().next())
        && first.str() != before.str()
    {
        errors.invalid(&families.items().next().unwrap_or(families), "primary ipFamily can not be unset");
    }
}

/// `clusterIPs` follows from `clusterIP` when only that is said.
fn prepare_create(_context: &Context, service: &mut Value) {
    let spec = &mut service["spec"];
    let single = text(spec, "clusterIP").to_owned();
    if !single.is_empty() && text(spec, "type") != "ExternalName" {
        set_zero(spec, "clusterIPs", json!([single]));
    }
}

/// Addresses and ports that the server allocated stay unless the client says otherwise.
fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part != Part::Main {
        return;
    }
    let kind = |o: &Value| text(&o["spec"], "type").to_owned();
    let needs_ip = |k: &str| k != "ExternalName";
    let needs_port = |k: &str| k == "NodePort" || k == "LoadBalancer";
    let (new_kind, old_kind) = (kind(new), kind(old));
    if needs_ip(&old_kind) && needs_ip(&new_kind) {
        let given = new["spec"]["clusterIP"].as_str().unwrap_or("").to_owned();
        let list = new["spec"]["clusterIPs"].as_array().is_some_and(|l| !l.is_empty());
        if given.is_empty() && !list {
            keep(&mut new["spec"], &old["spec"], "clusterIP");
            keep(&mut new["spec"], &old["spec"], "clusterIPs");
        } else if given.is_empty() {
            new["spec"]["clusterIP"] = new["spec"]["clusterIPs"][0].clone();
        } else if !list
            || given != text(&old["spec"], "clusterIP") && new["spec"]["clusterIPs"] == old["spec"]["clusterIPs"]
        {
            // Only one of the two was said.
            let both = if given == text(&old["spec"], "clusterIP") {
                old["spec"]["clusterIPs"].clone()
            } else {
                json!([given])
            };
            new["spec"]["clusterIPs"] = both;
        }
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if new["spec"].get(name).is_none_or(crate::field::is_zero) {
                keep(&mut new["spec"], &old["spec"], name);
            }
        }
    }
    if needs_port(&old_kind) && needs_port(&new_kind) {
        keep_node_ports(new, old);
        let health = |o: &Value| o["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0);
        let local = |o: &Value| kind(o) == "LoadBalancer" && text(&o["spec"], "externalTrafficPolicy") == "Local";
        if local(new) && local(old) && health(new) == 0 {
            keep(&mut new["spec"], &old["spec"], "healthCheckNodePort");
        }
    }
    drop_type_dependent(new, old);
}

/// What belongs to the old type goes with it, when the client left it as it was.
fn drop_type_dependent(new: &mut Value, old: &Value) {
    let kind = |o: &Value| text(&o["spec"], "type").to_owned();
    let (new_kind, old_kind) = (kind(new), kind(old));
    if old_kind == new_kind {
        return;
    }
    if new_kind == "ExternalName" {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if new["spec"][name] == old["spec"][name] {
                drop_key(&mut new["spec"], name);
            }
        }
    }
    if new_kind == "ClusterIP" || new_kind == "ExternalName" {
        let olds = old["spec"]["ports"].clone();
        each(&mut new["spec"], "ports", |p| {
            let same = olds.as_array().into_iter().flatten().any(|o| o["nodePort"] == p["nodePort"]);
            if same {
                drop_key(p, "nodePort");
            }
        });
    }
    if !matches!(new_kind.as_str(), "NodePort" | "LoadBalancer")
        && new["spec"]["externalTrafficPolicy"] == old["spec"]["externalTrafficPolicy"]
    {
        drop_key(&mut new["spec"], "externalTrafficPolicy");
    }
    if old_kind == "LoadBalancer" {
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"] {
            if new["spec"][name] == old["spec"][name] {
                drop_key(&mut new["spec"], name);
            }
        }
    }
}

fn keep_node_ports(new: &mut Value, old: &Value) {
    let olds: Vec<Value> = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let taken: Vec<Value> =
        new["spec"]["ports"].as_array().into_iter().flatten().map(|p| p["nodePort"].clone()).collect();
    each(&mut new["spec"], "ports", |p| {
        if p["nodePort"].as_i64().unwrap_or(0) != 0 {
            return;
        }
        let same = olds.iter().find(|o| o["port"] == p["port"] && o["protocol"] == p["protocol"]);
        if let Some(number) = same.map(|o| o["nodePort"].clone()).filter(|n| !n.is_null() && !taken.contains(n)) {
            p["nodePort"] = number;
        }
    });
}

fn warnings(service: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    let spec = service.get("spec");
    if spec.str_of("trafficDistribution") == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    if !spec.get("externalIPs").is_empty() {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if spec.str_of("clusterIP") == "None" && !spec.str_of("loadBalancerIP").is_empty() {
        out.push("spec.loadBalancerIP is ignored for headless services".to_owned());
    }
    if spec.str_of("clusterIP") == "None" && spec.str_of("sessionAffinity") == "ClientIP" {
        out.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
}
