//! Deployment: declarative updates of pods.

use serde_json::Value;

use crate::checks::{at_most_100_percent, count_or_percent, is_zero_amount, non_negative, same_value};
use crate::defaults::{ensure, keep, set, set_zero, text};
use crate::field::{Errors, Field};
use crate::go;
use crate::kind::{Kind, empty_status};
use crate::strategy::{Part, changes_spec};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    bumps_generation: |new, old| {
        let same = |of: &str| same_value(&new["metadata"][of], &old["metadata"][of]);
        changes_spec(new, old) || !same("annotations")
    },
    initial_status: Some(empty_status),
    default,
    validate,
    validate_change: super::immutable_selector,
    resets: |part| match part {
        Part::Status => Some(&[&["spec"], &["metadata", "labels"]]),
        _ => None,
    },
    prepare_update: |_, part, new, old| {
        if part == Part::Status {
            keep(&mut new["metadata"], &old["metadata"], "labels");
        }
    },
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};

fn default(deployment: &mut Value) {
    ensure(deployment, "status");
    let spec = ensure(deployment, "spec");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    let strategy = ensure(spec, "strategy");
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = ensure(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

fn validate(deployment: &Field, errors: &mut Errors) {
    let spec = deployment.get("spec");
    non_negative(&spec.get("replicas"), errors);
    super::selected_template(&spec, "deployment", errors);
    strategy(&spec.get("strategy"), errors);
    let deadline = spec.get("progressDeadlineSeconds");
    let ready = spec.get("minReadySeconds");
    non_negative(&ready, errors);
    non_negative(&spec.get("revisionHistoryLimit"), errors);
    if deadline.exists() {
        non_negative(&deadline, errors);
        if deadline.int_or_zero() <= ready.int_or_zero() {
            errors.invalid(&deadline, "must be greater than minReadySeconds");
        }
    }
}

fn strategy(strategy: &Field, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str_of("type") {
        "Recreate" => {
            if rolling.exists() {
                errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            if rolling.exists() {
                rolling_update(&rolling, errors);
            } else {
                errors.required(&rolling, "this should be defaulted and never be nil");
            }
        }
        _ => {
            let rolling = if rolling.exists() {
                go::shown(&rolling, &["maxUnavailable#", "maxSurge#"])
            } else {
                "null".to_owned()
            };
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", go::quoted(strategy.str_of("type")));
            errors.push(go::not_supported(strategy, &shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn rolling_update(rolling: &Field, errors: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    count_or_percent(&unavailable, errors);
    count_or_percent(&surge, errors);
    if is_zero_amount(&unavailable) && is_zero_amount(&surge) {
        errors.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
    at_most_100_percent(&unavailable, errors);
}
