//! What a validating policy says of a request, and what a mutating one makes of its object. Pure.

use api_semantics::apply::overlay;
use api_types::schema::Schema;
use kube_cel::{MAX_MESSAGE, Value as Cel};
use serde_json::Value;

use super::activation::{Activation, Stop, Unanswered};
use super::compiled::{Annotation, Mutation, Policy, Validation};

/// Longer values of audit annotations are cut off.
const MAX_ANNOTATION: usize = 10 * 1024;

/// Why a request should not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) message: String,
    /// Of the status; empty for the usual one.
    pub(super) reason: String,
    /// Which of the policy's validations it is from.
    pub(super) index: usize,
}

/// What a policy says of a request.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// All that it has against it.
    pub(super) denials: Vec<Denial>,
    /// What it adds to the audit log.
    pub(super) annotations: Vec<(String, String)>,
}

impl Denial {
    pub(super) fn failed(message: String) -> Self {
        Denial { message, reason: String::new(), index: 0 }
    }
}

/// What a policy says of a request.
pub(super) fn validate(policy: &Policy, seen: &Activation<'_>) -> Result<Judgement, Unanswered> {
    match seen.conditions(&policy.conditions)? {
        Ok(true) => {}
        Ok(false) => return Ok(Judgement::default()),
        Err(error) => return Ok(Judgement::only(failures(policy, vec![error]))),
    }
    let mut budget = Activation::budget();
    let mut results = Vec::new();
    for rule in &policy.validations {
        match seen.run(&rule.expression, &mut budget) {
            Ok(result) => results.push(result),
            Err(Stop::OverBudget(error)) => return Ok(Judgement::only(failures(policy, vec![error]))),
            Err(Stop::Unanswered(question)) => return Err(question),
        }
    }
    let mut denials = Vec::new();
    for (index, (rule, result)) in policy.validations.iter().zip(results).enumerate() {
        let found = match result {
            Ok(Cel::Bool(true)) => continue,
            Ok(_) => broken(policy, rule, seen, &mut budget)?,
            Err(error) => failures(policy, vec![error]),
        };
        denials.extend(found.into_iter().map(|denial| Denial { index, ..denial }));
    }
    let (annotations, errors) = annotations(&policy.annotations, seen)?;
    denials.extend(failures(policy, errors));
    Ok(Judgement { denials, annotations })
}

impl Judgement {
    fn only(denials: Vec<Denial>) -> Judgement {
        Judgement { denials, annotations: Vec::new() }
    }
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
    Ok(vec![Denial { message, reason: reason.to_owned(), index: 0 }])
}

/// A message that is not blank, on one line, and not too long.
fn usable(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_MESSAGE && !text.contains('\n')).then(|| text.to_owned())
}

/// Audit annotations that have a value, and what goes wrong with the others.
type Annotated = (Vec<(String, String)>, Vec<String>);

fn annotations(all: &[Annotation], seen: &Activation<'_>) -> Result<Annotated, Unanswered> {
    let mut budget = Activation::budget();
    let (mut made, mut errors) = (Vec::new(), Vec::new());
    for annotation in all {
        match seen.run(&annotation.expression, &mut budget) {
            Ok(Ok(Cel::String(text))) => {
                let text = text.trim();
                let end = (0..=MAX_ANNOTATION.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
                let text = &text[..end.unwrap_or_default()];
                made.extend((!text.is_empty()).then(|| (annotation.key.clone(), text.to_owned())));
            }
            Ok(Ok(Cel::Null)) => {}
            Ok(Ok(_)) => errors.push(format!(
                "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
                annotation.source
            )),
            Ok(Err(error)) | Err(Stop::OverBudget(error)) => errors.push(error),
            Err(Stop::Unanswered(question)) => return Err(question),
        }
    }
    Ok((made, errors))
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
