//! ConfigMap: data for pods.

use crate::checks::same;
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind { validate, validate_change, ..Kind::PLAIN };

/// What a ConfigMap or Secret may hold.
pub(crate) const MAX_SIZE: usize = 1024 * 1024;

fn validate(map: &Field, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in map.get("data").entries() {
        errors_of_key(key, &value, errors);
        size += value.len();
    }
    for (key, value) in map.get("binaryData").entries() {
        errors_of_key(key, &value, errors);
        if map.get("data").value().get(key).is_some() {
            errors.invalid_as(&value, key, "duplicate of key present in data");
        }
        size += value.len() / 4 * 3;
    }
    if size > MAX_SIZE {
        let at = Field::root(map.value());
        errors.too_long(&at, MAX_SIZE);
    }
}

/// The key of an entry must be usable as a file name.
pub(crate) fn errors_of_key(key: &str, entry: &Field, errors: &mut Errors) {
    for message in names::config_key(key) {
        errors.invalid_as(entry, key, message);
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    frozen(new, old, &["data", "binaryData"], errors);
}

/// Once `immutable` is set, it stays set and the data stays as it is.
pub(crate) fn frozen(new: &Field, old: &Field, data: &[&str], errors: &mut Errors) {
    if !old.bool_of("immutable") {
        return;
    }
    if !new.bool_of("immutable") {
        errors.forbidden(&new.get("immutable"), "field is immutable when `immutable` is set");
    }
    for name in data {
        if !same(&new.get(name), &old.get(name)) {
            errors.forbidden(&new.get(name), "field is immutable when `immutable` is set");
        }
    }
}
