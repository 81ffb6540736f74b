//! Validation of resource slices.

use std::collections::BTreeSet;

use super::devices::{attribute_text, driver_name};
use crate::checks::{immutable, required_name};
use crate::field::{Errors, Field};
use crate::names;

const NODES: [&str; 4] = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];

pub(super) fn validate(spec: &Field, errors: &mut Errors) {
    driver_name(&spec.get("driver"), errors);
    pool(&spec.get("pool"), errors);
    nodes(spec, errors);
    let devices = spec.get("devices");
    if devices.len() > 128 {
        errors.too_many(&devices, 128);
    }
    let mut seen = BTreeSet::new();
    for device in devices.items() {
        let name = device.get("name");
        errors.invalid_each(&name, names::dns1123_label(name.str()));
        if !seen.insert(name.str()) {
            errors.duplicate_as(&device, name.str());
        }
        // v1beta1 has another level.
        let parts = if device.has("basic") { device.get("basic") } else { device.clone() };
        attributes(&parts, errors);
    }
}

fn pool(pool: &Field, errors: &mut Errors) {
    let (name, count, generation) = (pool.get("name"), pool.get("resourceSliceCount"), pool.get("generation"));
    pool_name(&name, errors);
    crate::checks::positive(&count, errors);
    if generation.int_or_zero() < 0 {
        errors.invalid(&generation, "must be greater than or equal to zero");
    }
}

/// Subdomains, joined by slashes.
pub(super) fn pool_name(name: &Field, errors: &mut Errors) {
    if name.len() > 253 {
        errors.too_long(name, 253);
    }
    if name.str().is_empty() {
        errors.required(name, "");
        return;
    }
    for part in name.str().split('/') {
        for message in names::dns1123_subdomain(part) {
            errors.invalid_as(name, part, message);
        }
    }
}

fn nodes(spec: &Field, errors: &mut Errors) {
    let name = spec.get("nodeName");
    if name.exists() && name.str().is_empty() {
        errors.invalid(&name, "must be either unset or set to a non-empty string");
    } else if name.exists() {
        required_name(&name, names::dns1123_subdomain, errors);
    }
    let selector = spec.get("nodeSelector");
    if selector.exists() {
        crate::pod::node_selector(&selector, errors);
        if selector.get("nodeSelectorTerms").len() != 1 {
            errors.invalid(&selector.get("nodeSelectorTerms"), "must have exactly one node selector term");
        }
    }
    let set: Vec<&str> = NODES.into_iter().filter(|n| !spec.get(n).is_zero()).collect();
    let words = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    if set.is_empty() {
        errors.required(spec, words);
    } else if set.len() > 1 {
        let shown = format!("{{{}}}", set.join(", "));
        errors.invalid_as(spec, shown, format!("{words}, but multiple fields are set"));
    }
}

fn attributes(device: &Field, errors: &mut Errors) {
    for (name, attribute) in device.get("attributes").entries() {
        attribute_text(name, &attribute, false, errors);
        let kinds = ["bool", "int", "string", "version"];
        let set: Vec<&str> = kinds.into_iter().filter(|k| attribute.has(k)).collect();
        match set[..] {
            [] => errors.invalid_as(&attribute, "", "exactly one value must be specified"),
            [one] => {
                let value = attribute.get(one);
                if value.len() > 64 {
                    errors.too_long(&value, 64);
                }
            }
            _ => errors.invalid(&attribute, "exactly one value must be specified"),
        }
    }
    for (name, capacity) in device.get("capacity").entries() {
        attribute_text(name, &capacity, false, errors);
    }
}

pub(super) fn change(new: &Field, old: &Field, errors: &mut Errors) {
    immutable(&new.dig("spec.driver"), &old.dig("spec.driver"), errors);
    for name in ["nodeName", "nodeSelector", "allNodes"] {
        let (n, o) = (new.get("spec").get(name), old.get("spec").get(name));
        if !crate::checks::same(&n, &o) {
            errors.invalid(&n, crate::checks::IMMUTABLE);
        }
    }
    immutable(&new.dig("spec.pool.name"), &old.dig("spec.pool.name"), errors);
}
