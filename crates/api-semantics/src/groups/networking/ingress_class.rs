//! IngressClass: which controller serves an ingress.

use crate::checks::{immutable, required_name};
use crate::defaults::{set, within};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    default: |o| within(o, "spec.parameters", |p| set(p, "scope", "Cluster")),
    validate,
    validate_change,
    ..Kind::CLUSTER
};

fn validate(class: &Field, errors: &mut Errors) {
    let controller = class.dig("spec.controller");
    if controller.len() > 250 {
        errors.too_long(&controller, 250);
    }
    domain_prefixed_path(&controller, errors);
    let parameters = class.dig("spec.parameters");
    if parameters.exists() {
        parameters_of(&parameters, errors);
    }
}

fn domain_prefixed_path(field: &Field, errors: &mut Errors) {
    let text = field.str();
    if text.is_empty() {
        errors.required(field, "");
        return;
    }
    let Some((domain, path)) = text.split_once('/').filter(|(d, p)| !d.is_empty() && !p.is_empty()) else {
        errors.invalid(field, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    for message in names::dns1123_subdomain(domain) {
        errors.invalid_as(field, domain, message);
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/._~!$&'()*+,;=%:@-".contains(&b);
    if !path.bytes().all(fits) {
        errors.invalid_as(field, path, "Invalid path");
    }
}

fn parameters_of(parameters: &Field, errors: &mut Errors) {
    let group = parameters.get("apiGroup");
    if group.exists() {
        errors.invalid_each(&group, names::dns1123_subdomain(group.str()));
    }
    required_name(&parameters.get("kind"), names::path_segment, errors);
    required_name(&parameters.get("name"), names::path_segment, errors);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.value().as_str() {
        None => errors.required(&scope, ""),
        Some("Namespace") => {
            if namespace.exists() {
                errors.invalid_each(&namespace, names::dns1123_label(namespace.str()));
            } else {
                errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
            }
        }
        Some("Cluster") => {
            if namespace.exists() {
                errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
            }
        }
        Some(_) => errors.not_supported(&scope, &["Cluster", "Namespace"]),
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    immutable(&new.dig("spec.controller"), &old.dig("spec.controller"), errors);
}
