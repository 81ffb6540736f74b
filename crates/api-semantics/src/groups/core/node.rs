//! Node: a machine that runs pods.

use api_types::{FieldError, FieldErrorKind};
use serde_json::Value;
use std::collections::BTreeSet;

use crate::checks::{cidr, same};
use crate::defaults::{ensure, map_at, set_zero, within};
use crate::field::{Errors, Field};
use crate::kind::Kind;
use crate::pod::taint_effect;
use crate::strategy::{Context, Part, keep_other_parts};
use crate::{go, names};

pub(crate) static KIND: Kind =
    Kind { default, prepare_update, unconditional_update: true, validate, validate_change, ..Kind::CLUSTER };

fn default(node: &mut Value) {
    single_and_list(ensure(node, "spec"), "podCIDR", "podCIDRs", |c| c);
    let status = ensure(node, "status");
    within(status, "capacity", crate::quantity::round_list);
    within(status, "allocatable", crate::quantity::round_list);
    let capacity = map_at(status, "capacity");
    if !capacity.is_empty() {
        set_zero(status, "allocatable", capacity);
    }
}

/// Older clients know a single value; it is the first of the list, and what it says goes.
pub(crate) fn single_and_list(object: &mut Value, single: &str, list: &str, item: fn(Value) -> Value) {
    let Some(one) = object.get(single).filter(|v| !crate::field::is_zero(v)).cloned() else {
        let first = &object[list][0];
        let value = if first.is_object() { first["ip"].clone() } else { first.clone() };
        if !value.is_null() {
            object[single] = value;
        }
        return;
    };
    let wanted = item(one);
    if object[list][0] != wanted {
        object[list] = Value::Array(vec![wanted]);
    }
}

/// A node may be created with its status; updates keep the parts apart.
fn prepare_update(_context: &Context, part: Part, new: &mut Value, old: &Value) {
    keep_other_parts(part, new, old);
}

fn validate(node: &Field, errors: &mut Errors) {
    taints_and_amounts(node, errors);
    let cidrs = node.dig("spec.podCIDRs");
    for range in cidrs.items() {
        cidr(&range, errors);
    }
    let families: Vec<bool> = cidrs.items().filter_map(|c| names::cidr(c.str())).map(|(ip, _)| ip.is_ipv4()).collect();
    let four = families.iter().filter(|f| **f).count();
    if families.len() == cidrs.len() && (cidrs.len() > 2 || four > 1 || families.len() - four > 1) {
        errors.invalid(&cidrs, "may specify no more than one CIDR for each IP family");
    }
}

/// Upstream looks at these twice on updates.
fn taints_and_amounts(node: &Field, errors: &mut Errors) {
    let spec = node.get("spec");
    let mut seen = BTreeSet::new();
    for (i, taint) in spec.get("taints").items().enumerate() {
        // Upstream shows taints under metadata.
        let at = node.get("metadata").path().child("taints").index(i);
        one_taint(&Field::at(taint.value(), at), &mut seen, errors);
    }
    let status = node.get("status");
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.get(list).entries() {
            crate::pod::resource_name(
                name,
                &Field::at(amount.value(), status.get(list).path().child(name)),
                &mut Errors::default(),
            );
            crate::pod::amount(name, &Field::at(amount.value(), status.get(list).path().child(name)), errors);
        }
    }
}

fn one_taint<'a>(taint: &Field<'a>, seen: &mut BTreeSet<(&'a str, &'a str)>, errors: &mut Errors) {
    let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
    errors.invalid_each(&key, names::qualified_name(key.str()));
    let messages = names::label_value(value.str());
    if !messages.is_empty() {
        errors.invalid(&value, messages.join(";"));
    }
    if effect.str().is_empty() {
        errors.required(&effect, "");
    } else {
        taint_effect(&effect, errors);
    }
    if !seen.insert((key.str(), effect.str())) {
        let shown = go::shown(taint, &["key", "value", "effect", "timeAdded*"]);
        let message = format!("Duplicate value: {shown}: taints must be unique by key and effect pair");
        errors.push(FieldError { kind: FieldErrorKind::Duplicate, field: taint.path().clone(), message });
    }
}

fn validate_change(new: &Field, old: &Field, errors: &mut Errors) {
    taints_and_amounts(new, errors);
    let (spec, old_spec) = (new.get("spec"), old.get("spec"));
    let cidrs = spec.get("podCIDRs");
    if !old_spec.get("podCIDRs").is_empty() && !same(&cidrs, &old_spec.get("podCIDRs")) {
        errors.forbidden(&cidrs, "node updates may not change podCIDR except from \"\" to valid");
    }
    let provider = spec.get("providerID");
    if !old_spec.str_of("providerID").is_empty() && provider.str() != old_spec.str_of("providerID") {
        errors.forbidden(&provider, "node updates may not change providerID except from \"\" to valid");
    }
}
