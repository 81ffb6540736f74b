//! Validation of tolerations, gates and spread constraints.

use std::collections::BTreeSet;

use super::affinity::label_keys;
use crate::checks::{one_of, optional_one_of, positive};
use crate::field::{Errors, Field};
use crate::names;
use crate::object_meta::label_key;
use crate::selectors;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate(spec: &Field, errors: &mut Errors) {
    for gate in spec.get("readinessGates").items() {
        let kind = gate.get("conditionType");
        errors.invalid_each(&kind, names::qualified_name(kind.str()));
    }
    gates(&spec.get("schedulingGates"), errors);
    spread_constraints(&spec.get("topologySpreadConstraints"), errors);
    tolerations(&spec.get("tolerations"), errors);
}

fn gates(gates: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for gate in gates.items() {
        let name = gate.str_of("name");
        for message in names::qualified_name(name) {
            errors.invalid_as(&gate, name, message);
        }
        if !seen.insert(name) {
            errors.duplicate_as(&gate, name);
        }
    }
}

pub(crate) fn tolerations(list: &Field, errors: &mut Errors) {
    for toleration in list.items() {
        let (key, operator, effect) = (toleration.get("key"), toleration.get("operator"), toleration.get("effect"));
        if !key.str().is_empty() {
            label_key(key.str(), &key, errors);
        } else if operator.str() != "Exists" {
            errors.invalid_str(
                &operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.has("tolerationSeconds") && effect.str() != "NoExecute" {
            errors.invalid_str(&effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        operator_and_value(&toleration, &operator, errors);
        if !effect.str().is_empty() {
            taint_effect(&effect, errors);
        }
    }
}

fn operator_and_value(toleration: &Field, operator: &Field, errors: &mut Errors) {
    let value = toleration.str_of("value");
    match operator.str() {
        "Equal" | "" => {
            let messages = names::label_value(value);
            if !messages.is_empty() {
                errors.invalid_as(operator, value, messages.join(";"));
            }
        }
        "Exists" => {
            if !value.is_empty() {
                errors.invalid_as(operator, toleration.value(), "value must be empty when `operator` is 'Exists'");
            }
        }
        _ => errors.not_supported(operator, &["Equal", "Exists"]),
    }
}

/// The effect of a taint.
pub(crate) fn taint_effect(effect: &Field, errors: &mut Errors) {
    one_of(effect, &EFFECTS, errors);
}

fn spread_constraints(list: &Field, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for constraint in list.items() {
        let (skew, topology, when) =
            (constraint.get("maxSkew"), constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        positive(&skew, errors);
        if topology.str().is_empty() {
            errors.required(&topology, "can not be empty");
        }
        one_of(&when, &["DoNotSchedule", "ScheduleAnyway"], errors);
        if !seen.insert((topology.str(), when.str())) {
            errors.duplicate_as(&constraint, format!("{{{}, {}}}", topology.str(), when.str()));
        }
        let domains = constraint.get("minDomains");
        if domains.exists() {
            positive(&domains, errors);
            if when.str() != "DoNotSchedule" {
                errors.invalid(
                    &domains,
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", when.str()),
                );
            }
        }
        optional_one_of(&constraint.get("nodeAffinityPolicy"), &["Honor", "Ignore"], errors);
        optional_one_of(&constraint.get("nodeTaintsPolicy"), &["Honor", "Ignore"], errors);
        label_keys(&constraint, "matchLabelKeys", errors);
        selectors::validate(&constraint.get("labelSelector"), errors);
    }
}
