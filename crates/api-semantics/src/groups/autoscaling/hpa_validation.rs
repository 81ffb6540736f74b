//! Validation of horizontal pod autoscalers (upstream: `pkg/apis/autoscaling/validation`).

use crate::checks::{one_of, optional_one_of, required_name};
use crate::field::{Errors, Field};
use crate::names;
use crate::quantity::{self, Quantity};

const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

pub(super) fn validate(scaler: &Field, errors: &mut Errors) {
    let spec = scaler.get("spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    if least.exists() && least.int_or_zero() < 1 {
        errors.invalid(&least, "must be greater than or equal to 1");
    }
    if most.int_or_zero() == 0 {
        errors.required(&most, "must be set and greater than 0");
    } else if most.int_or_zero() < 1 {
        errors.invalid(&most, "must be greater than or equal to 1");
    }
    if least.exists() && most.int_or_zero() < least.int_or_zero() {
        errors.invalid_int(&most, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.get("scaleTargetRef"), true, errors);
    for metric in spec.get("metrics").items() {
        one_metric(&metric, errors);
    }
    let behavior = spec.get("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.get(direction);
        if rules.exists() {
            scaling_rules(&rules, errors);
        }
    }
}

/// An object that is scaled or measured. What is scaled must name its group.
fn reference(object: &Field, needs_group: bool, errors: &mut Errors) {
    required_name(&object.get("kind"), names::path_segment, errors);
    required_name(&object.get("name"), names::path_segment, errors);
    let version = object.get("apiVersion");
    if version.str().matches('/').count() > 1 {
        errors.invalid(&version, format!("unexpected GroupVersion string: {}", version.str()));
    } else if needs_group && !version.str().contains('/') && version.str() != "v1" {
        errors.invalid_str(&version, "apiVersion must specify API group");
    }
}

fn one_metric(metric: &Field, errors: &mut Errors) {
    let kind = metric.get("type");
    if kind.str().is_empty() {
        errors.required(&kind, "must specify a metric source type");
    }
    if !TYPES.contains(&kind.str()) {
        // Both upstream's switch and its rule for the field say so.
        errors.not_supported(&kind, &TYPES);
        errors.not_supported(&kind, &TYPES);
    }
    let expected = SOURCES.iter().find(|(t, _)| *t == kind.str()).map(|(_, f)| *f);
    if let Some(name) = expected
        && !metric.has(name)
    {
        errors.required(&metric.get(name), "must populate information for the given metric source");
    }
    let present: Vec<&str> = SOURCES.iter().map(|(_, f)| *f).filter(|f| metric.has(f)).collect();
    if present.len() != 1 {
        for name in present.iter().filter(|n| Some(**n) != expected) {
            errors.forbidden(&metric.get(name), "must populate the given metric source only");
        }
    }
    for name in present {
        source(name, &metric.get(name), errors);
    }
}

fn source(name: &str, source: &Field, errors: &mut Errors) {
    let target = source.get("target");
    match name {
        "object" => {
            reference(&source.get("describedObject"), false, errors);
            metric_identifier(&source.get("metric"), errors);
            one_target(&target, errors);
            if !target.has("value") && !target.has("averageValue") {
                errors.required(&target.get("averageValue"), "must set either a target value or averageValue");
            }
        }
        "external" => {
            metric_identifier(&source.get("metric"), errors);
            one_target(&target, errors);
            exclusive(&target, "value", "averageValue", ["a target value for metric", "a per-pod target"], errors);
        }
        "pods" => {
            metric_identifier(&source.get("metric"), errors);
            one_target(&target, errors);
            let average = target.get("averageValue");
            if quantity::of(average.value()).is_none_or(|q| q <= Quantity::ZERO) {
                errors.required(&average, "must specify a positive target averageValue");
            }
        }
        _ => resource(name, source, &target, errors),
    }
}

fn resource(name: &str, source: &Field, target: &Field, errors: &mut Errors) {
    let resource = source.get("name");
    if resource.str().is_empty() {
        errors.required(&resource, "must specify a resource name");
    } else if name == "containerResource" {
        crate::pod::resource_name(resource.str(), &resource, errors);
    }
    if name == "containerResource" {
        let container = source.get("container");
        if container.str().is_empty() {
            errors.required(&container, "must specify a container");
        } else {
            errors.invalid_each(&container, names::dns1123_label(container.str()));
        }
    }
    one_target(target, errors);
    exclusive(target, "averageUtilization", "averageValue", ["a target raw value", "a target utilization"], errors);
}

/// Exactly one of two amounts; upstream reports a missing one under one name and a surplus one under the other.
fn exclusive(target: &Field, first: &str, second: &str, words: [&str; 2], errors: &mut Errors) {
    let resource = first == "averageUtilization";
    match (target.has(first), target.has(second)) {
        (false, false) => {
            let at = target.get(if resource { first } else { second });
            errors.required(&at, &format!("must set either {} or {}", words[0], words[1]));
        }
        (true, true) => {
            let at = target.get(if resource { second } else { first });
            errors.forbidden(&at, format!("may not set both {} and {}", words[0], words[1]));
        }
        _ => {}
    }
}

fn metric_identifier(metric: &Field, errors: &mut Errors) {
    let name = metric.get("name");
    if name.str().is_empty() {
        errors.required(&name, "must specify a metric name");
    } else {
        errors.invalid_each(&name, names::path_segment(name.str()));
    }
}

fn one_target(target: &Field, errors: &mut Errors) {
    let kind = target.get("type");
    if kind.str().is_empty() {
        errors.required(&kind, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.str()) {
        errors.invalid_str(&kind, "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        let amount = target.get(name);
        if let Some(q) = quantity::of(amount.value())
            && q <= Quantity::ZERO
        {
            errors.invalid_as(&amount, q.to_string(), "must be positive");
        }
    }
    let share = target.get("averageUtilization");
    if share.exists() && share.int_or_zero() < 1 {
        errors.invalid(&share, "must be greater than 0");
    }
}

fn scaling_rules(rules: &Field, errors: &mut Errors) {
    let window = rules.get("stabilizationWindowSeconds");
    if window.int_or_zero() < 0 {
        errors.invalid(&window, "must be greater than or equal to zero");
    }
    if window.int_or_zero() > 3600 {
        errors.invalid(&window, "must be less than or equal to 3600");
    }
    optional_one_of(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"], errors);
    let policies = rules.get("policies");
    if policies.is_empty() {
        errors.required(&policies, "must specify at least one Policy");
    }
    for policy in policies.items() {
        one_of(&policy.get("type"), &["Percent", "Pods"], errors);
        for name in ["value", "periodSeconds"] {
            crate::checks::positive(&policy.get(name), errors);
        }
        let period = policy.get("periodSeconds");
        if period.int_or_zero() > 1800 {
            errors.invalid(&period, "must be less than or equal to 1800");
        }
    }
    let tolerance = rules.get("tolerance");
    if quantity::of(tolerance.value()).is_some_and(|q| q.is_negative()) {
        errors.invalid(&tolerance, "must be greater than or equal to 0");
    }
}
