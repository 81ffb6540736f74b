//! EndpointSlice: a part of the addresses behind a service.

use serde_json::Value;
use std::collections::BTreeSet;

use crate::checks::{optional_name, required_one_of};
use crate::defaults::{each, ensure, set};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;
use crate::strategy::changes_spec;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    bumps_generation: |new, old| changes_spec(new, old) || new["metadata"]["labels"] != old["metadata"]["labels"],
    default,
    validate,
    validate_change,
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(slice: &mut Value) {
    each(slice, "endpoints", |e| {
        ensure(e, "conditions");
    });
    each(slice, "ports", |p| {
        set(p, "name", "");
        set(p, "protocol", "TCP");
    });
}

fn validate(slice: &Field, errors: &mut Errors) {
    let kind = slice.get("addressType");
    required_one_of(&kind, &["FQDN", "IPv4", "IPv6"], errors);
    let endpoints = slice.get("endpoints");
    if endpoints.len() > 1000 {
        errors.too_many(&endpoints, 1000);
    }
    for endpoint in endpoints.items() {
        addresses(&endpoint, kind.str(), errors);
        let hostname = endpoint.get("hostname");
        if hostname.exists() {
            errors.invalid_each(&hostname, names::dns1123_label(hostname.str()));
        }
        let node = endpoint.get("nodeName");
        if node.exists() {
            errors.invalid_each(&node, names::dns1123_subdomain(node.str()));
        }
        let topology = endpoint.get("deprecatedTopology");
        crate::object_meta::labels(&topology, errors);
        hints(&endpoint.get("hints"), errors);
    }
    ports(&slice.get("ports"), errors);
}

fn addresses(endpoint: &Field, kind: &str, errors: &mut Errors) {
    let list = endpoint.get("addresses");
    if list.is_empty() {
        errors.required(&list, "must contain at least 1 address");
    } else if list.len() > 100 {
        errors.too_many(&list, 100);
    }
    for address in list.items() {
        match (kind, names::ip(address.str())) {
            ("FQDN", _) => errors.invalid_each(&address, names::dns1123_subdomain(address.str())),
            ("IPv4" | "IPv6", None) => crate::checks::ip(&address, errors),
            ("IPv4", Some(ip)) if !ip.is_ipv4() => errors.invalid(&address, "must be an IPv4 address"),
            ("IPv6", Some(ip)) if ip.is_ipv4() => errors.invalid(&address, "must be an IPv6 address"),
            _ => {}
        }
    }
}

fn hints(hints: &Field, errors: &mut Errors) {
    for (name, rule) in
        [("forZones", names::label_value as fn(&str) -> Vec<String>), ("forNodes", names::dns1123_subdomain)]
    {
        let list = hints.get(name);
        if list.len() > 8 {
            errors.too_many(&list, 8);
            continue;
        }
        let mut seen = BTreeSet::new();
        for item in list.items() {
            let name = item.get("name");
            if !seen.insert(name.str()) {
                errors.duplicate_as(&name, name.str());
            }
            errors.invalid_each(&name, rule(name.str()));
        }
    }
}

fn ports(ports: &Field, errors: &mut Errors) {
    if ports.len() > 20_000 {
        errors.too_many(ports, 20_000);
    }
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        optional_name(&name, names::dns1123_label, errors);
        if !seen.insert(name.str()) {
            errors.duplicate_as(&name, name.str());
        }
        let protocol = port.get("protocol");
        crate::checks::one_of(&protocol, &["SCTP", "TCP", "UDP"], errors);
        let application = port.get("appProtocol");
        if application.exists() {
            errors.invalid_each(&application, names::qualified_name(application.str()));
        }
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    crate::checks::immutable(&new.get("addressType"), &old.get("addressType"), errors);
}
