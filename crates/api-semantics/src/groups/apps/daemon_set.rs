//! DaemonSet: one pod on each node.

use serde_json::{Value, json};

use crate::checks::{at_most_100_percent, count_or_percent, is_zero_amount, non_negative};
use crate::defaults::{ensure, fill, set, set_zero, text};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::strategy::{Context, Part};
use crate::{go, selectors};

pub(crate) static KIND: Kind = Kind {
    generation: true,
    initial_status: Some(initial_status),
    default,
    prepare_create,
    prepare_update,
    validate,
    validate_change: super::immutable_selector,
    warnings: |n, o, w| crate::pod::warnings::template(n, o, "spec.template", w),
    labels_validated: 3,
    ..Kind::PLAIN
};

const GENERATION: &str = "deprecated.daemonset.template.generation";

fn initial_status() -> Value {
    json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0})
}

fn default(daemons: &mut Value) {
    if let Value::Object(zero) = initial_status() {
        fill(ensure(daemons, "status"), &zero);
    }
    let annotations = ensure(ensure(daemons, "metadata"), "annotations");
    set(annotations, GENERATION, "0");
    let spec = ensure(daemons, "spec");
    set(spec, "revisionHistoryLimit", 10);
    let strategy = ensure(spec, "updateStrategy");
    set_zero(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = ensure(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
    crate::pod::defaults::pod_template(ensure(spec, "template"));
}

/// The template's generation lives on as an annotation.
fn prepare_create(_context: &Context, daemons: &mut Value) {
    ensure(ensure(daemons, "metadata"), "annotations")[GENERATION] = json!("1");
}

fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    if part != Part::Main {
        return;
    }
    let old_generation = old["metadata"]["annotations"][GENERATION].as_str().unwrap_or("0");
    let changed = new["spec"]["template"] != old["spec"]["template"];
    let number: i64 = old_generation.parse().unwrap_or(0);
    let generation = if changed { (number + 1).to_string() } else { old_generation.to_owned() };
    let annotations = ensure(ensure(new, "metadata"), "annotations");
    if annotations.is_object() {
        annotations[GENERATION] = json!(generation);
    }
}

fn validate(daemons: &Field, errors: &mut Errors) {
    let spec = daemons.get("spec");
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    selectors::validate(&selector, errors);
    let labels = template.dig("metadata.labels");
    if selectors::is_valid(&selector) && (!selector.exists() || !selectors::matches(&selector, &labels)) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
    if selector.exists() && selectors::is_empty(&selector) {
        errors.invalid_as(&selector, selectors::shown(selector.value()), "empty selector is invalid for daemonset");
    }
    crate::pod::pod_template(&template, errors);
    super::always_restarted(&template, "DaemonSet", errors);
    non_negative(&spec.get("minReadySeconds"), errors);
    update_strategy(&spec.get("updateStrategy"), errors);
    non_negative(&spec.get("revisionHistoryLimit"), errors);
}

fn update_strategy(strategy: &Field, errors: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str_of("type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            if rolling.exists() {
                rolling_update(&rolling, errors);
            } else {
                errors.required(&rolling, "");
            }
        }
        _ => {
            let rolling = if rolling.exists() {
                go::shown(&rolling, &["maxUnavailable#", "maxSurge#"])
            } else {
                "null".to_owned()
            };
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", go::quoted(strategy.str_of("type")));
            errors.push(go::not_supported(strategy, &shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

fn rolling_update(rolling: &Field, errors: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    count_or_percent(&unavailable, errors);
    count_or_percent(&surge, errors);
    let (no_unavailable, no_surge) = (is_zero_amount(&unavailable), is_zero_amount(&surge));
    if !no_unavailable && !no_surge {
        errors.invalid(&surge, "may not be set when maxUnavailable is non-zero");
    }
    if no_unavailable && no_surge {
        errors.required(&unavailable, "cannot be 0 when maxSurge is 0");
    }
    at_most_100_percent(&unavailable, errors);
    at_most_100_percent(&surge, errors);
}
