//! NetworkPolicy: which traffic pods accept and send.

use serde_json::{Value, json};

use crate::checks::{cidr, one_of, optional_one_of, port_number, port_or_name};
use crate::defaults::{each, ensure, set_zero};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::{names, selectors};

pub(crate) static KIND: Kind = Kind { generation: true, default, validate, ..Kind::PLAIN };

fn default(policy: &mut Value) {
    let spec = ensure(policy, "spec");
    ensure(spec, "podSelector");
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| each(rule, "ports", |p| crate::defaults::set(p, "protocol", "TCP")));
    }
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    set_zero(spec, "policyTypes", types);
}

fn validate(policy: &Field, errors: &mut Errors) {
    let spec = policy.get("spec");
    selectors::validate(&spec.get("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.get(direction).items() {
            for port in rule.get("ports").items() {
                one_port(&port, errors);
            }
            for peer in rule.get(peers).items() {
                one_peer(&peer, errors);
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        errors.invalid(&types, "may not specify more than two policyTypes");
        return;
    }
    for kind in types.items() {
        one_of(&kind, &["Ingress", "Egress"], errors);
    }
}

fn one_port(port: &Field, errors: &mut Errors) {
    let (protocol, number, end) = (port.get("protocol"), port.get("port"), port.get("endPort"));
    optional_one_of(&protocol, &["TCP", "UDP", "SCTP"], errors);
    if number.exists() {
        port_or_name(&number, errors);
        if end.exists() {
            if number.value().is_string() {
                errors.invalid(&end, "may not be specified when `port` is non-numeric");
            } else if end.int_or_zero() < number.int_or_zero() {
                errors.invalid_as(&end, number.int_or_zero(), "must be greater than or equal to `port`");
            }
        }
    } else if end.exists() {
        errors.invalid(&end, "may not be specified when `port` is not specified");
    }
    if end.exists() {
        port_number(&end, errors);
    }
}

fn one_peer(peer: &Field, errors: &mut Errors) {
    let set: Vec<&str> = ["podSelector", "namespaceSelector", "ipBlock"].into_iter().filter(|n| peer.has(n)).collect();
    for name in ["podSelector", "namespaceSelector"] {
        selectors::validate(&peer.get(name), errors);
    }
    let block = peer.get("ipBlock");
    if block.exists() {
        ip_block(&block, errors);
    }
    if set.is_empty() {
        errors.required(peer, "must specify a peer");
    } else if block.exists() && set.len() > 1 {
        errors.forbidden(peer, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &Field, errors: &mut Errors) {
    let range = block.get("cidr");
    if range.str().is_empty() {
        errors.required(&range, "");
        return;
    }
    cidr(&range, errors);
    let Some((base, length)) = names::cidr(range.str()) else { return };
    for except in block.get("except").items() {
        cidr(&except, errors);
        if let Some((inner, inner_length)) = names::cidr(except.str())
            && !(names::contains(base, length, inner) && inner_length > length)
        {
            errors.invalid(&except, "must be a strict subset of `cidr`");
        }
    }
}
