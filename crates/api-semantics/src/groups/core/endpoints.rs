//! Endpoints: the addresses behind a service (deprecated by EndpointSlice).

use std::net::IpAddr;

use crate::checks::{optional_name, port_number, required_one_of};
use crate::defaults::{each, set_zero};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind {
    default: |o| each(o, "subsets", |s| each(s, "ports", |p| set_zero(p, "protocol", "TCP"))),
    validate,
    warnings: |_, _, out| out.push(DEPRECATED.to_owned()),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn validate(endpoints: &Field, errors: &mut Errors) {
    for subset in endpoints.get("subsets").items() {
        let (ready, waiting) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && waiting.is_empty() {
            errors.required(&subset, "must specify `addresses` or `notReadyAddresses`");
        }
        for address in ready.items().chain(waiting.items()) {
            one_address(&address, errors);
        }
        let ports = subset.get("ports");
        for port in ports.items() {
            let name = port.get("name");
            if name.str().is_empty() {
                if ports.len() > 1 {
                    errors.required(&name, "");
                }
            } else {
                errors.invalid_each(&name, names::dns1123_label(name.str()));
            }
            port_number(&port.get("port"), errors);
            required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"], errors);
            let protocol = port.get("appProtocol");
            if protocol.exists() {
                errors.invalid_each(&protocol, names::qualified_name(protocol.str()));
            }
        }
    }
}

fn one_address(address: &Field, errors: &mut Errors) {
    let (ip, hostname, node) = (address.get("ip"), address.get("hostname"), address.get("nodeName"));
    crate::checks::ip(&ip, errors);
    optional_name(&hostname, names::dns1123_label, errors);
    if node.exists() {
        errors.invalid_each(&node, names::dns1123_subdomain(node.str()));
    }
    special_ip(&ip, errors);
}

/// Addresses that never lead to an endpoint.
fn special_ip(field: &Field, errors: &mut Errors) {
    let Some(ip) = names::ip(field.str()) else {
        errors.invalid_str(field, "must be a valid IP address");
        return;
    };
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(a) => (a.is_link_local(), a.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(a) => (a.is_unicast_link_local(), a.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(field, format!("may not be unspecified ({})", field.str()));
    }
    if ip.is_loopback() {
        errors.invalid(field, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(field, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_multicast {
        errors.invalid(field, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
