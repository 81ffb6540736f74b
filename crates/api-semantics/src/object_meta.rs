//! Validation of `metadata`, the same for every kind (upstream: apimachinery `validation.ValidateObjectMeta`).

use crate::field::{Errors, Field};

/// What a name must look like: the messages of what is wrong. The flag says that the name is a prefix (`generateName`).
pub(crate) type NameRule = fn(&str, bool) -> Vec<String>;

/// RFC 1123 subdomain, the rule of most kinds.
pub(crate) fn dns_subdomain(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

/// All that is wrong with `metadata` of an object.
pub(crate) fn validate(
    _metadata: &Field,
    _namespaced: bool,
    _name: NameRule,
    _errors: &mut Errors,
) {
}

/// All that is wrong with the change of `metadata`.
pub(crate) fn validate_update(_new: &Field, _old: &Field, _errors: &mut Errors) {}
