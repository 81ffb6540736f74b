//! Validation of device claims and classes.

use std::collections::BTreeSet;

use kube_cel::Type;

use crate::checks::{one_of, required_name};
use crate::field::{Errors, Field};
use crate::names;

const REQUEST_NAME: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The spec of a claim, in either form of the API.
pub(super) fn claim(spec: &Field, errors: &mut Errors) {
    let devices = spec.get("devices");
    let mut request_names: BTreeSet<String> = BTreeSet::new();
    let list = devices.get("requests");
    if list.len() > 32 {
        errors.too_many(&list, 32);
    }
    for request in list.items() {
        one_request(&request, &mut request_names, errors);
    }
    for constraint in devices.get("constraints").items() {
        one_constraint(&constraint, &request_names, errors);
    }
    for config in devices.get("config").items() {
        references(&config.get("requests"), &request_names, errors);
        configuration(&config, errors);
    }
}

fn one_request(request: &Field, seen: &mut BTreeSet<String>, errors: &mut Errors) {
    let name = request.get("name");
    errors.invalid_each(&name, names::dns1123_label(name.str()));
    if !seen.insert(name.str().to_owned()) {
        errors.duplicate_as(request, name.str());
    }
    let alternatives = request.get("firstAvailable");
    let flat = request.has("deviceClassName");
    let exactly = if flat { request.clone() } else { request.get("exactly") };
    match (exactly.exists(), !alternatives.is_empty()) {
        (false, false) => errors.required(request, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, true) => errors.invalid_as(
            request,
            serde_json::Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (true, false) => amount_and_class(&exactly, errors),
        (false, true) => {
            let mut own = BTreeSet::new();
            for alternative in alternatives.items() {
                let sub = alternative.get("name");
                errors.invalid_each(&sub, names::dns1123_label(sub.str()));
                if !own.insert(sub.str()) {
                    errors.duplicate_as(&alternative, sub.str());
                }
                seen.insert(format!("{}/{}", name.str(), sub.str()));
                amount_and_class(&alternative, errors);
            }
        }
    }
}

fn amount_and_class(request: &Field, errors: &mut Errors) {
    required_name(&request.get("deviceClassName"), names::dns1123_subdomain, errors);
    selectors(&request.get("selectors"), errors);
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match mode.str() {
        "All" => {
            if count.int_or_zero() != 0 {
                errors.invalid(&count, format!("must not be specified when allocationMode is '{}'", mode.str()));
            }
        }
        "ExactCount" => {
            if count.int_or_zero() <= 0 {
                errors.invalid_int(&count, "must be greater than zero");
            }
        }
        _ => one_of(&mode, &["All", "ExactCount"], errors),
    }
    for toleration in request.get("tolerations").items() {
        one_of(&toleration.get("operator"), &["Equal", "Exists"], errors);
    }
}

fn selectors(list: &Field, errors: &mut Errors) {
    if list.len() > 32 {
        errors.too_many(list, 32);
    }
    for selector in list.items() {
        if !selector.has("cel") {
            errors.required(&selector.get("cel"), "");
            continue;
        }
        selector_expression(&selector.dig("cel.expression"), errors);
    }
}

fn references(list: &Field, known: &BTreeSet<String>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for reference in list.items() {
        for part in reference.str().split('/') {
            for message in names::dns1123_label(part) {
                errors.invalid_as(&reference, part, message);
            }
        }
        if !known.contains(reference.str()) {
            errors.invalid_str(&reference, REQUEST_NAME);
        }
        if !seen.insert(reference.str()) {
            errors.duplicate(&reference);
        }
    }
}

fn one_constraint(constraint: &Field, known: &BTreeSet<String>, errors: &mut Errors) {
    references(&constraint.get("requests"), known, errors);
    let (same, distinct) = (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
    if same.exists() && same.str().is_empty() {
        // No domain and no name, and upstream says so of the name alone.
        errors.invalid(&same, "a fully qualified name must be a domain and a name separated by a slash");
        errors.invalid_each(&same, names::c_identifier(""));
    } else if same.exists() {
        attribute_name(&same, true, errors);
    } else if distinct.exists() {
        attribute_name(&distinct, true, errors);
    } else {
        errors.required(
            constraint,
            "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set",
        );
    }
}

/// `domain/identifier`; the domain may be left out where it is implied.
pub(super) fn attribute_name(field: &Field, qualified: bool, errors: &mut Errors) {
    attribute_text(field.str(), field, qualified, errors);
}

pub(super) fn attribute_text(text: &str, at: &Field, qualified: bool, errors: &mut Errors) {
    // Upstream looks no further when there are more than two parts.
    if text.matches('/').count() > 1 {
        return;
    }
    let (domain, identifier) = match text.split_once('/') {
        Some((d, i)) => (Some(d), i),
        None => (None, text),
    };
    match domain {
        None if qualified => {
            errors.invalid_as(at, text, "a fully qualified name must be a domain and a name separated by a slash")
        }
        None => {}
        Some(domain) => {
            if domain.is_empty() {
                errors.required(at, "the domain must not be empty");
            } else {
                if domain.len() > 63 {
                    errors.too_long(at, 63);
                }
                for message in names::dns1123_subdomain(&domain.to_lowercase()) {
                    errors.invalid_as(at, domain, message);
                }
            }
        }
    }
    if identifier.is_empty() {
        errors.required(at, "the name must not be empty");
        return;
    }
    if identifier.len() > 32 {
        errors.too_long(at, 32);
    }
    for message in names::c_identifier(identifier) {
        errors.invalid_as(at, identifier, message);
    }
}

fn configuration(config: &Field, errors: &mut Errors) {
    let opaque = config.get("opaque");
    if !opaque.exists() {
        errors.required(&opaque, "");
        return;
    }
    driver_name(&opaque.get("driver"), errors);
    let parameters = opaque.get("parameters");
    if !parameters.exists() {
        errors.required(&parameters, "");
    } else if !parameters.value().is_object() {
        errors.invalid_as(&parameters, "<value omitted>", "must be a valid JSON object");
    }
}

/// The name of a driver: a subdomain of at most 63 bytes.
pub(super) fn driver_name(driver: &Field, errors: &mut Errors) {
    if driver.str().is_empty() {
        errors.required(driver, "");
        return;
    }
    if driver.len() > 63 {
        errors.too_long(driver, 63);
    }
    errors.invalid_each(driver, names::dns1123_subdomain(&driver.str().to_lowercase()));
}

pub(super) fn class(spec: &Field, errors: &mut Errors) {
    selectors(&spec.get("selectors"), errors);
    for config in spec.get("config").items() {
        configuration(&config, errors);
    }
}

/// What a claim asks for never changes.
pub(super) fn immutable_spec(new: &Field, old: &Field, errors: &mut Errors) {
    let spec = new.get("spec");
    // A template's spec holds the claim's.
    let of = if spec.has("spec") { "ResourceClaimTemplateSpec" } else { "ResourceClaimSpec" };
    crate::go::immutable(&spec, &old.get("spec"), of, errors);
}

/// A device is selected by an expression that is true of it.
fn selector_expression(expression: &Field, errors: &mut Errors) {
    match kube_cel::Expression::compile(expression.str(), &crate::cel::device()) {
        Err(error) => errors.invalid_str(expression, format!("compilation failed: {error}")),
        Ok(compiled) if ![Type::Bool, Type::Dyn].contains(compiled.ty()) => {
            let got = compiled.ty();
            errors.invalid(expression, format!("must evaluate to bool or the unknown type, not {got}"));
        }
        Ok(_) => {}
    }
}
