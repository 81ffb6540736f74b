//! Label selectors: validation and matching against a template's labels.

use serde_json::Value;

use crate::field::{Errors, Field};
use crate::names;
use crate::object_meta::{label_key, labels};

const OPERATORS: [&str; 4] = ["In", "NotIn", "Exists", "DoesNotExist"];

/// A `LabelSelector`; absent is fine.
pub(crate) fn validate(selector: &Field, errors: &mut Errors) {
    labels(&selector.get("matchLabels"), errors);
    for requirement in selector.get("matchExpressions").items() {
        requirement_of(&requirement, errors);
    }
}

fn requirement_of(requirement: &Field, errors: &mut Errors) {
    let values = requirement.get("values");
    let operator = requirement.get("operator");
    match operator.str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        o if !OPERATORS.contains(&o) => errors.invalid_str(&operator, "not a valid selector operator"),
        _ => {}
    }
    let key = requirement.get("key");
    label_key(key.str(), &key, errors);
    for value in values.items() {
        errors.invalid_each(&value, names::label_value(value.str()));
    }
}

/// Neither labels nor expressions: selects everything.
pub(crate) fn is_empty(selector: &Field) -> bool {
    selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty()
}

/// The selector as upstream shows it: the API's own type, which leaves out what is empty.
pub(crate) fn shown(selector: &Value) -> Value {
    let mut shown = selector.clone();
    if let Some(expressions) = shown.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        for expression in expressions.iter_mut().filter_map(Value::as_object_mut) {
            expression.retain(|name, value| name != "values" || !crate::field::is_zero(value));
        }
    }
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|_, value| !crate::field::is_zero(value));
    }
    shown
}

/// Whether the selector selects these labels.
pub(crate) fn matches(selector: &Field, labels: &Field) -> bool {
    let value = |key: &str| labels.value().get(key).and_then(Value::as_str);
    let all_labels = selector.get("matchLabels").entries().all(|(k, v)| value(k) == Some(v.str()));
    all_labels
        && selector.get("matchExpressions").items().all(|r| {
            let own = value(r.str_of("key"));
            let listed = || r.get("values").items().any(|v| own == Some(v.str()));
            match r.str_of("operator") {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                _ => false,
            }
        })
}

/// Whether it can be turned into a selector at all.
pub(crate) fn is_valid(selector: &Field) -> bool {
    let mut errors = Errors::default();
    validate(selector, &mut errors);
    errors.is_empty()
}
