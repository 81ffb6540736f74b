//! FlowSchema: which requests go to which priority level.

use serde_json::Value;

use crate::defaults::{ensure, set_zero};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};
use crate::{go, names};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(empty_status),
    status_keeps_metadata: true,
    default,
    validate,
    ..Kind::CLUSTER
};

fn default(schema: &mut Value) {
    ensure(schema, "status");
    let spec = ensure(schema, "spec");
    ensure(spec, "priorityLevelConfiguration");
    set_zero(spec, "matchingPrecedence", 1000);
}

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn validate(schema: &Field, errors: &mut Errors) {
    let spec = schema.get("spec");
    let precedence = spec.get("matchingPrecedence");
    if precedence.int_or_zero() <= 0 {
        errors.invalid_int(&precedence, "must be a positive value");
    }
    if precedence.int_or_zero() > 10_000 {
        errors.invalid(&precedence, "must not be greater than 10000");
    }
    if precedence.int_or_zero() == 1 && schema.get("metadata").str_of("name") != "exempt" {
        errors.invalid(&precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = spec.get("distinguisherMethod");
    if method.exists() && !["ByNamespace", "ByUser"].contains(&method.str_of("type")) {
        let shown = go::shown(&method, &["type"]);
        errors.push(go::not_supported(&method.get("type"), &shown, &["ByNamespace", "ByUser"]));
    }
    let level = spec.dig("priorityLevelConfiguration.name");
    if level.str().is_empty() {
        errors.required(&level, "must reference a priority level");
    } else {
        errors.invalid_each(&level, names::dns1123_subdomain(level.str()));
    }
    for rule in spec.get("rules").items() {
        one_rule(&rule, errors);
    }
}

fn one_rule(rule: &Field, errors: &mut Errors) {
    let subjects = rule.get("subjects");
    if subjects.is_empty() {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for subject in subjects.items() {
        one_subject(&subject, errors);
    }
    let (resources, urls) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        errors.required(rule, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for resource in resources.items() {
        resource_rule(&resource, errors);
    }
    for url in urls.items() {
        url_rule(&url, errors);
    }
}

fn one_subject(subject: &Field, errors: &mut Errors) {
    let kind = subject.get("kind");
    let kinds = [("User", "user"), ("Group", "group"), ("ServiceAccount", "serviceAccount")];
    let Some((_, own)) = kinds.iter().find(|(k, _)| *k == kind.str()) else {
        errors.not_supported(&kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let part = subject.get(own);
    if !part.exists() {
        errors.required(&part, &format!("{own} is required when subject kind is '{}'", kind.str()));
    }
    for (_, other) in kinds.iter().filter(|(k, _)| *k != kind.str()) {
        if subject.has(other) {
            errors.forbidden(
                &subject.get(other),
                format!("{other} is forbidden when subject kind is not '{}'", capital(other)),
            );
        }
    }
    if part.exists() {
        account(&part, *own == "serviceAccount", errors);
    }
}

fn capital(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn account(part: &Field, service_account: bool, errors: &mut Errors) {
    let (name, namespace) = (part.get("name"), part.get("namespace"));
    if name.str().is_empty() {
        errors.required(&name, "");
    } else if service_account && name.str() != "*" {
        errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
    }
    if service_account {
        if namespace.str().is_empty() {
            errors.required(&namespace, "must specify namespace for service account");
        } else {
            errors.invalid_each(&namespace, names::dns1123_label(namespace.str()));
        }
    }
}

fn verbs(rule: &Field, errors: &mut Errors) {
    let verbs = rule.get("verbs");
    let all: Vec<&str> = verbs.items().map(|v| v.value().as_str().unwrap_or("")).collect();
    if all.is_empty() {
        errors.required(&verbs, "verbs must contain at least one value");
    } else if all.contains(&"*") {
        if all.len() > 1 {
            errors.invalid(&verbs, "if '*' is present, must not specify other verbs");
        }
    } else if !all.iter().all(|v| VERBS.contains(v)) {
        let message = go::not_supported(&verbs, &verbs.value().to_string(), &VERBS);
        errors.push(message);
    }
}

fn wildcard(list: &Field, missing: &str, what: &str, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(list, missing);
    } else if list.len() > 1 && list.items().any(|i| i.str() == "*") {
        errors.invalid(list, format!("if '*' is present, must not specify other {what}"));
    }
}

fn resource_rule(rule: &Field, errors: &mut Errors) {
    verbs(rule, errors);
    wildcard(&rule.get("apiGroups"), "resource rules must supply at least one api group", "api groups", errors);
    wildcard(&rule.get("resources"), "resource rules must supply at least one resource", "resources", errors);
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.bool_of("clusterScope") {
        errors.required(&namespaces, "resource rules that are not cluster scoped must supply at least one namespace");
    } else if namespaces.len() > 1 && namespaces.items().any(|n| n.str() == "*") {
        errors.invalid(&namespaces, "if '*' is present, must not specify other namespaces");
    } else {
        for namespace in namespaces.items().filter(|n| n.str() != "*") {
            for message in names::dns1123_label(namespace.str()) {
                errors.invalid(
                    &namespace,
                    format!("each member of this list must be '*' or a DNS-1123 label; {message}"),
                );
            }
        }
    }
}

fn url_rule(rule: &Field, errors: &mut Errors) {
    verbs(rule, errors);
    let urls = rule.get("nonResourceURLs");
    wildcard(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs", errors);
    for url in urls.items() {
        let text = url.str();
        if text.is_empty() {
            errors.invalid_str(&url, "must not be empty");
        } else if text == "*" || text == "/" {
            continue;
        } else if !text.starts_with('/') {
            errors.invalid(&url, "must start with slash");
        } else if text.contains(' ') {
            errors.invalid(&url, "must not contain white-space");
        } else if text.contains("//") {
            errors.invalid(&url, "must not contain double slash");
        } else if text[..text.len() - 1].contains('*') || (text.ends_with('*') && !text.ends_with("/*")) {
            errors.invalid(&url, "wildcard can only do suffix matching");
        }
    }
}
