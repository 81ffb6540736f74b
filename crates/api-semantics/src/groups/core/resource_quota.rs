//! ResourceQuota: limits on what a namespace uses.

use serde_json::Value;
use std::collections::BTreeSet;

use crate::checks::IMMUTABLE;
use crate::defaults::{ensure, within};
use crate::field::{Errors, Field};
use crate::kind::{Kind, empty_status};

pub(crate) static KIND: Kind =
    Kind { initial_status: Some(empty_status), default, validate, validate_change, labels_validated: 3, ..Kind::PLAIN };

fn default(quota: &mut Value) {
    within(ensure(quota, "spec"), "hard", crate::quantity::round_list);
    let status = ensure(quota, "status");
    within(status, "hard", crate::quantity::round_list);
    within(status, "used", crate::quantity::round_list);
}

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn validate(quota: &Field, errors: &mut Errors) {
    let spec = quota.get("spec");
    let hard = spec.get("hard");
    for (name, amount) in hard.entries() {
        crate::pod::quota_name(name, &amount, errors);
        crate::pod::amount(name, &amount, errors);
    }
    scopes(&spec, errors);
    let selector = spec.get("scopeSelector");
    if selector.exists() {
        scope_selector(&selector, &hard, errors);
    }
}

fn scopes(spec: &Field, errors: &mut Errors) {
    let scopes = spec.get("scopes");
    let mut set = BTreeSet::new();
    for scope in scopes.items() {
        if !SCOPES.contains(&scope.str()) {
            errors.invalid(&scopes, "unsupported scope");
        }
        set.insert(scope.str());
    }
    contradictions(&set, &scopes, errors);
    for (name, _) in spec.get("hard").entries() {
        if set.iter().any(|s| SCOPES.contains(s) && crate::pod::is_quota_resource(name) && !tracks(s, name)) {
            errors.invalid(&scopes, "unsupported scope applied to resource");
        }
    }
}

fn contradictions(set: &BTreeSet<&str>, at: &Field, errors: &mut Errors) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|s| set.contains(s)) {
            errors.invalid(at, "conflicting scopes");
        }
    }
}

/// Whether a scope can be counted for a resource.
fn tracks(scope: &str, resource: &str) -> bool {
    let compute = matches!(
        resource,
        "pods" | "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory"
    );
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" => compute,
        "CrossNamespacePodAffinity" | "PriorityClass" => true,
        _ => true,
    }
}

/// Upstream shows the expressions without an index.
fn scope_selector(selector: &Field, hard: &Field, errors: &mut Errors) {
    let list = selector.get("matchExpressions");
    let mut set = BTreeSet::new();
    for expression in list.items() {
        let at = |name: &str| Field::at(expression.get(name).value(), list.path().child(name));
        let (scope, operator, values) = (at("scopeName"), at("operator"), at("values"));
        if !SCOPES.contains(&scope.str()) {
            errors.invalid_str(&scope, "unsupported scope");
        }
        let plain = SCOPES[..4].contains(&scope.str()) || scope.str() == "CrossNamespacePodAffinity";
        if plain && operator.str() != "Exists" {
            errors.invalid_str(&operator, "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(
                    &values,
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.invalid(
                    &values,
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid_str(&operator, "not a valid selector operator"),
        }
        set.insert(scope.str());
        for (name, _) in hard.entries() {
            if SCOPES.contains(&scope.str()) && crate::pod::is_quota_resource(name) && !tracks(scope.str(), name) {
                errors.invalid(&list, "unsupported scope applied to resource");
            }
        }
    }
    contradictions(&set, &list, errors);
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    let (new, old) = (new.dig("spec.scopes"), old.dig("spec.scopes"));
    let set = |f: &Field| f.items().map(|s| s.str().to_owned()).collect::<BTreeSet<_>>();
    if set(&new) != set(&old) {
        errors.invalid(&new, IMMUTABLE);
    }
}
