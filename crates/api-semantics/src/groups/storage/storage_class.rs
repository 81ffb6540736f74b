//! StorageClass: how volumes are provisioned.

use serde_json::Value;
use std::collections::BTreeSet;

use crate::checks::{immutable, one_of};
use crate::defaults::set;
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::names;

pub(crate) static KIND: Kind = Kind { default, validate, validate_change, ..Kind::CLUSTER };

fn default(class: &mut Value) {
    set(class, "reclaimPolicy", "Delete");
    set(class, "volumeBindingMode", "Immediate");
}

fn validate(class: &Field, errors: &mut Errors) {
    let provisioner = class.get("provisioner");
    if provisioner.str().is_empty() {
        errors.required(&provisioner, "");
    } else {
        let lowered = provisioner.str().to_lowercase();
        for message in names::qualified_name(&lowered) {
            errors.invalid_as(&provisioner, &lowered, message);
        }
    }
    let parameters = class.get("parameters");
    if parameters.len() > 512 {
        errors.too_long(&parameters, 512);
    }
    for (key, _) in parameters.entries() {
        if key.is_empty() {
            errors.invalid_as(&parameters, key, "field can not be empty.");
        }
    }
    let policy = class.get("reclaimPolicy");
    if !policy.str().is_empty() {
        one_of(&policy, &["Delete", "Retain"], errors);
    }
    let mode = class.get("volumeBindingMode");
    if mode.exists() {
        one_of(&mode, &["Immediate", "WaitForFirstConsumer"], errors);
    } else {
        errors.required(&mode, "");
    }
    topologies(&class.get("allowedTopologies"), errors);
}

fn topologies(terms: &Field, errors: &mut Errors) {
    // A term without expressions counts as a duplicate, even the first.
    let mut seen: Vec<Vec<(&str, BTreeSet<&str>)>> = vec![Vec::new()];
    for term in terms.items() {
        let list = term.get("matchLabelExpressions");
        let mut keys = BTreeSet::new();
        let mut term_key = Vec::new();
        for expression in list.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            if values.is_empty() {
                errors.required(&values, "");
            }
            let mut set = BTreeSet::new();
            for value in values.items() {
                if !set.insert(value.str()) {
                    errors.duplicate(&value);
                }
            }
            crate::object_meta::label_key(key.str(), &key, errors);
            if !keys.insert(key.str()) {
                errors.duplicate(&key);
            }
            term_key.push((key.str(), set));
        }
        term_key.sort();
        if seen.contains(&term_key) {
            errors.duplicate_as(&list, "");
        }
        seen.push(term_key);
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        immutable(&new.get(name), &old.get(name), errors);
    }
}
