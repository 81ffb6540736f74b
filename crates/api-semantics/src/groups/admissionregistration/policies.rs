//! Validation of admission policies and their bindings.

use std::collections::BTreeSet;

use super::expressions::Expressions;
use super::rules::{match_conditions, match_resources};
use crate::cel::Results;
use crate::checks::{one_of, optional_one_of};
use crate::field::{Errors, Field};
use crate::names;
use crate::selectors;

/// What both kinds of policy have. Answers the environment of the expressions that are left to check.
pub(super) fn policy(policy: &Field, mutates: bool, errors: &mut Errors) -> Expressions {
    let spec = policy.get("spec");
    let failure = spec.get("failurePolicy");
    if failure.exists() {
        one_of(&failure, &["Fail", "Ignore"], errors);
    } else {
        errors.required(&failure, "");
    }
    let kind = spec.get("paramKind");
    if kind.exists() {
        param_kind(&kind, errors);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.exists() {
        match_resources(&constraints, errors);
        if constraints.get("resourceRules").is_empty() {
            errors.required(&constraints.get("resourceRules"), "");
        }
    } else {
        errors.required(&constraints, "");
    }
    let mut expressions = Expressions::new(&spec, mutates);
    match_conditions(&spec.get("matchConditions"), &expressions.conditions(), errors);
    let variables = spec.get("variables");
    let mut seen = BTreeSet::new();
    for variable in variables.items() {
        one_variable(&variable, &mut expressions, errors);
        let name = variable.get("name");
        if !name.str().is_empty() && !seen.insert(name.str()) {
            errors.duplicate(&name);
        }
    }
    expressions
}

fn param_kind(kind: &Field, errors: &mut Errors) {
    let (version, name) = (kind.get("apiVersion"), kind.get("kind"));
    if version.str().is_empty() {
        errors.required(&version, "");
    } else if version.str().matches('/').count() > 1 {
        errors.invalid(&version, format!("unexpected GroupVersion string: {}", version.str()));
    } else {
        let (group, plain) = version.str().rsplit_once('/').unwrap_or(("", version.str()));
        if !group.is_empty() {
            for message in names::dns1123_subdomain(group) {
                errors.invalid_as(&version, group, message);
            }
        }
        for message in names::dns1035_label(plain) {
            errors.invalid_as(&version, plain, message);
        }
    }
    if name.str().is_empty() {
        errors.required(&name, "");
    } else {
        mixed_case(&name, errors);
    }
}

/// A kind: a label but for its capitals.
pub(crate) fn mixed_case(name: &Field, errors: &mut Errors) {
    let messages = names::dns1035_label(&name.str().to_lowercase());
    if !messages.is_empty() {
        let message = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
        errors.invalid(name, message);
    }
}

fn one_variable(variable: &Field, expressions: &mut Expressions, errors: &mut Errors) {
    let (name, expression) = (variable.get("name"), variable.get("expression"));
    if name.str().is_empty() {
        errors.required(&name, "name is not specified");
    } else if !is_identifier(name.str()) {
        errors.invalid(&name, "must be a valid CEL identifier");
    }
    if expression.str().trim().is_empty() {
        errors.required(&expression, "expression is not specified");
        return;
    }
    expressions.define(name.str(), &expression, errors);
}

fn is_identifier(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The rules and audit annotations of a validating policy.
pub(super) fn validations(policy: &Field, expressions: &Expressions, errors: &mut Errors) {
    let spec = policy.get("spec");
    let (rules, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if rules.is_empty() && annotations.is_empty() {
        errors.required(&rules, "validations or auditAnnotations must contain items");
        errors.required(&annotations, "validations or auditAnnotations must contain items");
    }
    for rule in rules.items() {
        let (expression, reason) = (rule.get("expression"), rule.get("reason"));
        if expression.str().trim().is_empty() {
            errors.required(&expression, "expression is not specified");
        } else {
            expressions.check(&expression, true, &Results::truth(), errors);
        }
        let made = rule.get("messageExpression");
        if !made.str().is_empty() && made.str().trim().is_empty() {
            errors.invalid(&made, "must be non-empty if specified");
        } else if !made.str().is_empty() {
            expressions.check(&made, false, &Results::text(), errors);
        }
        let message = rule.get("message");
        if !message.str().is_empty() && message.str().trim().is_empty() {
            errors.invalid(&message, "message must be non-empty if specified");
        } else if message.str().trim().contains('\n') {
            errors.invalid(&message, "message must not contain line breaks");
        }
        if reason.str() != "Unauthorized" {
            optional_one_of(&reason, &["Forbidden", "Invalid", "RequestEntityTooLarge"], errors);
        }
    }
    if annotations.len() > 20 {
        errors.invalid(&annotations, "must not have more than 20 auditAnnotations");
    }
    let mut seen = BTreeSet::new();
    for annotation in annotations.items() {
        audit_annotation(policy, &annotation, expressions, errors);
        let key = annotation.get("key");
        if !seen.insert(key.str()) {
            errors.duplicate(&key);
        }
    }
}

/// The key is qualified by the policy's name.
fn audit_annotation(policy: &Field, annotation: &Field, expressions: &Expressions, errors: &mut Errors) {
    let name = policy.get("metadata").str_of("name");
    let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
    if name.is_empty() {
        errors.invalid_str(&key, "requires metadata.name be non-empty");
    } else {
        let full = format!("{name}/{}", key.str());
        for message in names::qualified_name(&full) {
            errors.invalid_as(&key, &full, message);
        }
    }
    if value.str().trim().is_empty() {
        errors.required(&value, "valueExpression is not specified");
        return;
    }
    expressions.check_as_written(&value, &Results::text_or_null(), errors);
}

/// What a mutating policy changes.
pub(super) fn mutations(policy: &Field, expressions: &Expressions, errors: &mut Errors) {
    let spec = policy.get("spec");
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        errors.required(&mutations, "mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        one_mutation(&mutation, expressions, errors);
    }
    let reinvocation = spec.get("reinvocationPolicy");
    if reinvocation.str().is_empty() {
        errors.required(&reinvocation, "");
    } else {
        one_of(&reinvocation, &["IfNeeded", "Never"], errors);
    }
}

fn one_mutation(mutation: &Field, expressions: &Expressions, errors: &mut Errors) {
    let kind = mutation.get("patchType");
    let forms = [
        ("ApplyConfiguration", "applyConfiguration", Results::object()),
        ("JSONPatch", "jsonPatch", Results::patches()),
    ];
    if kind.str().is_empty() {
        errors.required(&kind, "");
        return;
    }
    if !forms.iter().any(|(name, ..)| *name == kind.str()) {
        one_of(&kind, &["ApplyConfiguration", "JSONPatch"], errors);
        return;
    }
    for (name, field, results) in &forms {
        let form = mutation.get(field);
        match (*name == kind.str(), form.exists()) {
            (true, false) => errors.required(&form, &format!("must be specified when patchType is {name}")),
            (false, true) => errors.invalid(&form, format!("must not be specified when patchType is not {name}")),
            (true, true) => {
                let expression = form.get("expression");
                if expression.str().trim().is_empty() {
                    errors.required(&expression, "expression is not specified");
                } else {
                    expressions.check(&expression, true, results, errors);
                }
            }
            (false, false) => {}
        }
    }
}

/// What bindings of both kinds have.
pub(super) fn binding(binding: &Field, errors: &mut Errors) {
    let spec = binding.get("spec");
    let name = spec.get("policyName");
    if name.str().is_empty() {
        errors.required(&name, "");
    } else {
        errors.invalid_each(&name, names::dns1123_subdomain(name.str()));
    }
    let reference = spec.get("paramRef");
    if reference.exists() {
        param_ref(&reference, errors);
    }
    let resources = spec.get("matchResources");
    if resources.exists() {
        match_resources(&resources, errors);
    }
}

fn param_ref(reference: &Field, errors: &mut Errors) {
    let (name, selector) = (reference.get("name"), reference.get("selector"));
    match (!name.str().is_empty(), selector.exists()) {
        (true, true) => {
            errors.forbidden(&name, "name and selector are mutually exclusive");
            errors.forbidden(&selector, "name and selector are mutually exclusive");
        }
        (false, false) => errors.required(reference, "one of name or selector must be specified"),
        (true, false) => errors.invalid_each(&name, names::path_segment(name.str())),
        (false, true) => selectors::validate(&selector, errors),
    }
    let action = reference.get("parameterNotFoundAction");
    if action.str().is_empty() {
        errors.required(&action, "");
    } else {
        one_of(&action, &["Deny", "Allow"], errors);
    }
}

pub(super) fn validation_actions(binding: &Field, errors: &mut Errors) {
    let actions = binding.dig("spec.validationActions");
    if actions.is_empty() {
        errors.required(&actions, "at least one validation action is required");
    }
    let mut seen = BTreeSet::new();
    for action in actions.items() {
        one_of(&action, &["Audit", "Deny", "Warn"], errors);
        if !seen.insert(action.str()) {
            errors.duplicate(&action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errors.invalid(&actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
}
