//! Validation of node and pod affinity.

use crate::field::{Errors, Field};
use crate::names;
use crate::object_meta::label_key;
use crate::selectors;

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(affinity: &Field, errors: &mut Errors) {
    let nodes = affinity.get("nodeAffinity");
    let required = nodes.get(REQUIRED);
    if required.exists() {
        node_selector(&required, errors);
    }
    for term in nodes.get(PREFERRED).items() {
        weight(&term, errors);
        selector_term(&term.get("preference"), errors);
    }
    for name in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(name);
        for term in pods.get(REQUIRED).items() {
            pod_term(&term, errors);
        }
        for term in pods.get(PREFERRED).items() {
            weight(&term, errors);
            pod_term(&term.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Field, errors: &mut Errors) {
    let weight = term.get("weight");
    if !(1..=100).contains(&weight.int_or_zero()) {
        errors.invalid_int(&weight, "must be in the range 1-100");
    }
}

/// A `NodeSelector`: at least one term.
pub(crate) fn node_selector(selector: &Field, errors: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&terms, "must have at least one node selector term");
    }
    for term in terms.items() {
        selector_term(&term, errors);
    }
}

fn selector_term(term: &Field, errors: &mut Errors) {
    for requirement in term.get("matchExpressions").items() {
        node_selector_requirement(&requirement, errors);
    }
    for requirement in term.get("matchFields").items() {
        field_requirement(&requirement, errors);
    }
}

fn node_selector_requirement(requirement: &Field, errors: &mut Errors) {
    let (operator, values) = (requirement.get("operator"), requirement.get("values"));
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => errors.invalid_str(&operator, "not a valid selector operator"),
    }
    let key = requirement.get("key");
    label_key(key.str(), &key, errors);
    for value in values.items() {
        errors.invalid_each(&value, names::label_value(value.str()));
    }
}

/// Fields can only be the node's name.
fn field_requirement(requirement: &Field, errors: &mut Errors) {
    let (operator, values, key) = (requirement.get("operator"), requirement.get("values"), requirement.get("key"));
    match operator.str() {
        "In" | "NotIn" if values.len() != 1 => {
            errors
                .required(&values, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
        }
        "In" | "NotIn" => {}
        _ => errors.invalid_str(&operator, "not a valid selector operator"),
    }
    if key.str() == "metadata.name" {
        for value in values.items() {
            errors.invalid_each(&value, names::dns1123_subdomain(value.str()));
        }
    } else {
        errors.invalid_str(&key, "not a valid field selector key");
    }
}

fn pod_term(term: &Field, errors: &mut Errors) {
    selectors::validate(&term.get("labelSelector"), errors);
    selectors::validate(&term.get("namespaceSelector"), errors);
    for namespace in term.get("namespaces").items() {
        for message in names::dns1123_label(namespace.str()) {
            let at = term.path().child("namespace");
            errors.invalid_as(&Field::at(namespace.value(), at), namespace.str(), message);
        }
    }
    label_keys(term, "matchLabelKeys", errors);
    label_keys(term, "mismatchLabelKeys", errors);
    let topology = term.get("topologyKey");
    if topology.str().is_empty() {
        errors.required(&topology, "can not be empty");
    }
    errors.invalid_each(&topology, names::qualified_name(topology.str()));
}

/// Keys that are taken from the pod itself; they need a selector to be merged into.
pub(super) fn label_keys(term: &Field, name: &str, errors: &mut Errors) {
    let keys = term.get(name);
    if keys.is_empty() {
        return;
    }
    if !term.has("labelSelector") {
        errors.forbidden(&keys, "must not be specified when labelSelector is not set");
    }
    for key in keys.items() {
        label_key(key.str(), &key, errors);
        // The pod's own value is there already, once; what the user says of the key beside it is too much.
        let selector = term.get("labelSelector");
        let said = usize::from(selector.get("matchLabels").value().get(key.str()).is_some())
            + selector.get("matchExpressions").items().filter(|e| e.str_of("key") == key.str()).count();
        if name == "matchLabelKeys" && said > 1 {
            errors.invalid_str(&key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
