//! Checks of single fields that many kinds share.

use crate::field::{Errors, Field};
use crate::names;

pub(crate) const IMMUTABLE: &str = "field is immutable";
const NON_NEGATIVE: &str = "must be greater than or equal to 0";

/// Upstream's `ValidateNonnegativeField`; absent is fine.
pub(crate) fn non_negative(field: &Field, errors: &mut Errors) {
    if field.int().is_some_and(|n| n < 0) {
        errors.invalid(field, NON_NEGATIVE);
    }
}

/// `must be greater than zero`; absent counts as zero.
pub(crate) fn positive(field: &Field, errors: &mut Errors) {
    if field.int_or_zero() <= 0 {
        errors.invalid_int(field, "must be greater than zero");
    }
}

/// A number in an inclusive range; absent counts as zero.
pub(crate) fn in_range(field: &Field, low: i64, high: i64, errors: &mut Errors) {
    if !(low..=high).contains(&field.int_or_zero()) {
        errors.invalid_int(field, format!("must be between {low} and {high}, inclusive"));
    }
}

/// A port number; absent counts as zero.
pub(crate) fn port_number(field: &Field, errors: &mut Errors) {
    in_range(field, 1, 65535, errors);
}

/// A port number or the name of a port.
pub(crate) fn port_or_name(field: &Field, errors: &mut Errors) {
    if field.value().is_string() {
        errors.invalid_each(field, names::port_name(field.str()));
    } else {
        port_number(field, errors);
    }
}

/// One of a list of words (an absent one is the empty word).
pub(crate) fn one_of(field: &Field, words: &[&str], errors: &mut Errors) {
    if !words.contains(&field.str()) {
        errors.not_supported(field, words);
    }
}

/// The same, with another error for an absent word.
pub(crate) fn required_one_of(field: &Field, words: &[&str], errors: &mut Errors) {
    if field.str().is_empty() {
        errors.required(field, "");
    } else {
        one_of(field, words, errors);
    }
}

/// One of a list of words, when set at all.
pub(crate) fn optional_one_of(field: &Field, words: &[&str], errors: &mut Errors) {
    if field.exists() {
        one_of(field, words, errors);
    }
}

pub(crate) fn required(field: &Field, errors: &mut Errors) {
    if field.is_zero() {
        errors.required(field, "");
    }
}

/// A required text that satisfies `rule`.
pub(crate) fn required_name(field: &Field, rule: fn(&str) -> Vec<String>, errors: &mut Errors) {
    if field.str().is_empty() {
        errors.required(field, "");
    } else {
        errors.invalid_each(field, rule(field.str()));
    }
}

/// A text that satisfies `rule`, when set.
pub(crate) fn optional_name(field: &Field, rule: fn(&str) -> Vec<String>, errors: &mut Errors) {
    if !field.str().is_empty() {
        errors.invalid_each(field, rule(field.str()));
    }
}

pub(crate) fn ip(field: &Field, errors: &mut Errors) {
    if names::ip(field.str()).is_none() {
        errors.invalid_str(field, names::INVALID_IP);
    }
}

pub(crate) fn cidr(field: &Field, errors: &mut Errors) {
    if names::cidr(field.str()).is_none() {
        errors.invalid_str(field, names::INVALID_CIDR);
    }
}

/// Equal up to absent zero values.
pub(crate) fn same(a: &Field, b: &Field) -> bool {
    same_value(a.value(), b.value())
}

pub(crate) fn same_value(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same_value(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, w)| x.contains_key(k) || empty_container(w))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same_value(v, w)),
        (x, y) => x == y || empty_container(x) && empty_container(y),
    }
}

/// Absent and empty lists and maps are the same thing on the wire.
fn empty_container(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(empty_container),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

/// `field is immutable`, unless nothing changed.
pub(crate) fn immutable(new: &Field, old: &Field, errors: &mut Errors) {
    if same(new, old) {
        return;
    }
    if !new.exists() && old.value().is_string() {
        errors.invalid_str(new, IMMUTABLE);
    } else {
        errors.invalid(new, IMMUTABLE);
    }
}

/// A count or a percentage (`IntOrString`) that is not negative.
pub(crate) fn count_or_percent(field: &Field, errors: &mut Errors) {
    if field.value().is_string() {
        errors.invalid_each(field, names::percent(field.str()));
    } else {
        non_negative(field, errors);
    }
}

/// A percentage of at most 100.
pub(crate) fn at_most_100_percent(field: &Field, errors: &mut Errors) {
    if percent_of(field).is_some_and(|p| p > 100) {
        errors.invalid(field, "must not be greater than 100%");
    }
}

/// The number before `%`, when the field is a percentage.
pub(crate) fn percent_of(field: &Field) -> Option<i64> {
    let text = field.value().as_str()?;
    text.strip_suffix('%')?.parse().ok()
}

/// Whether an `IntOrString` stands for zero.
pub(crate) fn is_zero_amount(field: &Field) -> bool {
    match percent_of(field) {
        Some(p) => p == 0,
        None => field.int_or_zero() == 0,
    }
}
