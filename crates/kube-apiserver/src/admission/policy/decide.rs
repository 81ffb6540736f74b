//! What a validating policy says of a request, and what a mutating one makes of its object. Pure.

use api_semantics::apply::overlay;
use api_types::schema::Schema;
use kube_cel::{MAX_MESSAGE, Value as Cel};
use serde_json::Value;

use super::activation::{Activation, Stop, Unanswered};
use super::compiled::{Annotation, Mutation, Policy, Validation};

/// Why a request should not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) message: String,
    /// Of the status; empty for the usual one.
    pub(super) reason: String,
}

impl Denial {
    fn failed(message: String) -> Self {
        Denial { message, reason: String::new() }
    }
}

/// All that a policy has against a request.
pub(super) fn validate(policy: &Policy, seen: &Activation<'_>) -> Result<Vec<Denial>, Unanswered> {
    match seen.conditions(&policy.conditions)? {
        Ok(true) => {}
        Ok(false) => return Ok(Vec::new()),
        Err(error) => return Ok(failures(policy, vec![error])),
    }
    let mut budget = Activation::budget();
    let mut results = Vec::new();
    for rule in &policy.validations {
        match seen.run(&rule.expression, &mut budget) {
            Ok(result) => results.push(result),
            Err(Stop::OverBudget(error)) => return Ok(failures(policy, vec![error])),
            Err(Stop::Unanswered(question)) => return Err(question),
        }
    }
    let mut denials = Vec::new();
    for (rule, result) in policy.validations.iter().zip(results) {
        match result {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => denials.extend(broken(policy, rule, seen, &mut budget)?),
            Err(error) => denials.extend(failures(policy, vec![error])),
        }
    }
    denials.extend(failures(policy, annotations(&policy.annotations, seen)?));
    Ok(denials)
}

/// Errors count unless the policy ignores them.
fn failures(policy: &Policy, errors: Vec<String>) -> Vec<Denial> {
    if policy.ignores_errors { Vec::new() } else { errors.into_iter().map(Denial::failed).collect() }
}

fn broken(
    policy: &Policy,
    rule: &Validation,
    seen: &Activation<'_>,
    budget: &mut u64,
) -> Result<Vec<Denial>, Unanswered> {
    let made = match rule.message_expression.as_ref().map(|m| seen.run(m, budget)) {
        Some(Ok(Ok(Cel::String(text)))) => usable(&text),
        Some(Err(Stop::Unanswered(question))) => return Err(question),
        Some(Err(Stop::OverBudget(error))) => {
            return Ok(failures(policy, vec![format!("failed messageExpression: {error}")]));
        }
        _ => None,
    };
    let fixed = Some(rule.message.clone()).filter(|m| !m.is_empty());
    let message = made.or(fixed).unwrap_or_else(|| format!("failed expression: {}", rule.source));
    let reason = if rule.reason.is_empty() { "Invalid" } else { &rule.reason };
    Ok(vec![Denial { message, reason: reason.to_owned() }])
}

/// A message that is not blank, on one line, and not too long.
fn usable(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}

/// What goes wrong with the values of audit annotations. (No audit log is written, so the values go nowhere.)
fn annotations(all: &[Annotation], seen: &Activation<'_>) -> Result<Vec<String>, Unanswered> {
    let mut budget = Activation::budget();
    let mut errors = Vec::new();
    for annotation in all {
        match seen.run(&annotation.expression, &mut budget) {
            Ok(Ok(Cel::String(_) | Cel::Null)) => {}
            Ok(Ok(_)) => errors.push(format!(
                "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
                annotation.source
            )),
            Ok(Err(error)) | Err(Stop::OverBudget(error)) => errors.push(error),
            Err(Stop::Unanswered(question)) => return Err(question),
        }
    }
    Ok(errors)
}

/// The object after one mutation.
pub(super) fn mutate(
    mutation: &Mutation,
    object: &Value,
    schema: &Schema,
    seen: &Activation<'_>,
) -> Result<Result<Value, String>, Unanswered> {
    let mut budget = Activation::budget();
    let made = match seen.run(&mutation.expression, &mut budget) {
        Ok(Ok(made)) => made,
        Ok(Err(error)) | Err(Stop::OverBudget(error)) => return Ok(Err(error)),
        Err(Stop::Unanswered(question)) => return Err(question),
    };
    Ok(if mutation.patches { patched(&made, object) } else { laid_over(&made, object, schema) })
}

fn patched(made: &Cel, object: &Value) -> Result<Value, String> {
    let Some(json) = made.to_json() else {
        return Err("JSONPath valueExpression evaluated to a type that could not marshal to JSON".to_owned());
    };
    let patch: json_patch::Patch = serde_json::from_value(json).map_err(|e| format!("JSONPath: {e}"))?;
    let mut object_after = object.clone();
    match json_patch::patch(&mut object_after, &patch) {
        Ok(()) => Ok(object_after),
        // A test that does not hold means that there is nothing to do.
        Err(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed) => Ok(object.clone()),
        Err(error) => Err(format!("JSONPath: {error}")),
    }
}

fn laid_over(made: &Cel, object: &Value, schema: &Schema) -> Result<Value, String> {
    let names = check_names(made, "Object");
    if let Some((wanted, found)) = names {
        return Err(format!(
            "type mismatch: unexpected type name {found:?}, expected {wanted:?}, which matches field name path from root Object type"
        ));
    }
    let Some(json) = made.to_json() else {
        return Err("expression evaluated to a type that could not marshal to JSON".to_owned());
    };
    overlay(object, &json, schema).map_err(|e| format!("error applying patch: {e}"))
}

/// Objects are made with the type of their place: (wanted, found) of the first that is not.
fn check_names(made: &Cel, at: &str) -> Option<(String, String)> {
    match made {
        Cel::Struct(name, _) if name.as_ref() != at => Some((at.to_owned(), name.to_string())),
        Cel::Struct(_, fields) => fields.iter().find_map(|(name, value)| check_names(value, &format!("{at}.{name}"))),
        Cel::List(list) => list.items.iter().find_map(|item| check_names(item, at)),
        _ => None,
    }
}
