//! Ingress: HTTP routes from outside to services.

use serde_json::{Value, json};

use crate::checks::{optional_name, port_number, required_name};
use crate::defaults::{each, ensure, within};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(|| json!({"loadBalancer": {}})),
    default,
    validate,
    warnings,
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(ingress: &mut Value) {
    ensure(ensure(ingress, "status"), "loadBalancer");
    let spec = ensure(ingress, "spec");
    within(spec, "defaultBackend", backend);
    each(spec, "rules", |rule| {
        within(rule, "http", |http| {
            each(http, "paths", |path| backend(ensure(path, "backend")));
        });
    });
}

fn backend(backend: &mut Value) {
    within(backend, "service", |s| {
        ensure(s, "port");
    });
}

fn validate(ingress: &Field, errors: &mut Errors) {
    let spec = ingress.get("spec");
    let (default, rules) = (spec.get("defaultBackend"), spec.get("rules"));
    if !default.exists() && rules.is_empty() {
        errors.invalid_as(&spec, rules.value(), "either `defaultBackend` or `rules` must be specified");
    }
    if default.exists() {
        one_backend(&default, errors);
    }
    for rule in rules.items() {
        one_rule(&rule, errors);
    }
    for tls in spec.get("tls").items() {
        for name in tls.get("hosts").items() {
            host_name(&name, errors);
        }
        optional_name(&tls.get("secretName"), names::dns1123_subdomain, errors);
    }
    let class = spec.get("ingressClassName");
    if class.exists() {
        errors.invalid_each(&class, names::dns1123_subdomain(class.str()));
    }
}

fn host_name(host: &Field, errors: &mut Errors) {
    if host.str().contains('*') {
        errors.invalid_each(host, names::wildcard_subdomain(host.str()));
    } else {
        errors.invalid_each(host, names::dns1123_subdomain(host.str()));
    }
}

fn one_rule(rule: &Field, errors: &mut Errors) {
    let host = rule.get("host");
    if !host.str().is_empty() {
        if names::ip(host.str()).is_some() {
            errors.invalid(&host, "must be a DNS name, not an IP address");
        }
        host_name(&host, errors);
    }
    let http = rule.get("http");
    if !http.exists() {
        return;
    }
    let paths = http.get("paths");
    if paths.is_empty() {
        errors.required(&paths, "");
    }
    for path in paths.items() {
        one_path(&path, errors);
    }
}

fn one_path(path: &Field, errors: &mut Errors) {
    let (text, kind) = (path.get("path"), path.get("pathType"));
    let absolute = text.str().starts_with('/');
    match kind.value().as_str() {
        None => {
            errors.required(&kind, "pathType must be specified");
            return;
        }
        Some("Exact" | "Prefix") => {
            if !absolute {
                errors.invalid_str(&text, "must be an absolute path");
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.str().contains(bad) {
                    errors.invalid(&text, format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if text.str().ends_with(bad) {
                    errors.invalid(&text, format!("cannot end with '{bad}'"));
                }
            }
        }
        Some("ImplementationSpecific") => {
            if !text.str().is_empty() && !absolute {
                errors.invalid(&text, "must be an absolute path");
            }
        }
        Some(_) => errors.not_supported(&kind, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    one_backend(&path.get("backend"), errors);
}

fn one_backend(backend: &Field, errors: &mut Errors) {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    match (resource.exists(), service.exists()) {
        (true, true) => errors.invalid_as(backend, "", "cannot set both resource and service backends"),
        (false, false) => errors.invalid_as(backend, "", "resource or service backend is required"),
        (true, false) => {
            let group = resource.get("apiGroup");
            if group.exists() {
                errors.invalid_each(&group, names::dns1123_subdomain(group.str()));
            }
            required_name(&resource.get("kind"), names::path_segment, errors);
            required_name(&resource.get("name"), names::path_segment, errors);
        }
        (false, true) => backend_service(backend, &service, errors),
    }
}

fn backend_service(backend: &Field, service: &Field, errors: &mut Errors) {
    required_name(&service.get("name"), names::dns1123_label, errors);
    let (name, number) = (service.dig("port.name"), service.dig("port.number"));
    match (!name.str().is_empty(), number.int_or_zero() != 0) {
        (true, true) => errors.invalid_as(backend, "", "cannot set both port name & port number"),
        (true, false) => errors.invalid_each(&name, names::port_name(name.str())),
        (false, true) => port_number(&number, errors),
        (false, false) => errors.required(backend, "port name or number is required"),
    }
}

fn warnings(ingress: &Field, _old: Option<&Field>, out: &mut Vec<String>) {
    if ingress.dig("metadata.annotations").entry("kubernetes.io/ingress.class").exists() {
        out.push(
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
                .to_owned(),
        );
    }
}
