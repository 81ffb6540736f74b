//! The names of resources, and what an amount of each may be.

use crate::field::{Errors, Field};
use crate::names;
use crate::quantity;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

pub(super) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// A resource that no prefix or only `kubernetes.io` names: known to the node itself.
pub(super) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// A prefixed resource of somebody else's (devices).
fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// The name of a resource in general; whether it is well-formed.
pub(crate) fn any_resource_name(name: &str, field: &Field, errors: &mut Errors) -> bool {
    let messages = names::qualified_name(name);
    let well_formed = messages.is_empty();
    for message in messages {
        errors.invalid_as(field, name, message);
    }
    if well_formed && !name.contains('/') && !is_standard_anywhere(name) {
        errors.invalid_as(field, name, "must be a standard resource type or fully qualified");
    }
    well_formed
}

/// The name of a resource that a container asks for.
pub(crate) fn resource_name(name: &str, field: &Field, errors: &mut Errors) {
    any_resource_name(name, field, errors);
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !is_huge_pages(name) {
            errors.invalid_as(field, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid_as(field, name, "doesn't follow extended resource name standard");
    }
}

/// The name of a resource that a quota counts.
pub(crate) fn quota_name(name: &str, field: &Field, errors: &mut Errors) {
    if any_resource_name(name, field, errors) && !name.contains('/') && !is_standard_anywhere(name) {
        errors.invalid_as(field, name, "must be a standard resource for quota");
    }
}

/// A resource that quotas know by a plain name.
pub(crate) fn is_quota_resource(name: &str) -> bool {
    is_standard_anywhere(name)
}

fn is_standard_anywhere(name: &str) -> bool {
    const KNOWN: [&str; 19] = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "storage",
        "requests.storage",
        "services.nodeports",
    ];
    KNOWN.contains(&name)
        || name == "services.loadbalancers"
        || is_huge_pages(name)
        || name.starts_with("requests.hugepages-")
}

/// An amount: not negative, whole for things that cannot be divided.
pub(crate) fn amount(name: &str, field: &Field, errors: &mut Errors) {
    let Some(quantity) = quantity::of(field.value()) else { return };
    if quantity.is_negative() {
        errors.invalid_as(field, quantity.to_string(), "must be greater than or equal to 0");
    }
    let whole = is_extended(name)
        || matches!(name, "pods" | "services" | "secrets" | "configmaps" | "resourcequotas" | "replicationcontrollers")
        || matches!(name, "persistentvolumeclaims" | "services.nodeports" | "services.loadbalancers")
        || name.starts_with("count/");
    if whole && !quantity::is_integer(quantity) {
        errors.invalid_as(field, quantity.to_string(), "must be an integer");
    }
}
