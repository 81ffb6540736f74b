//! Questions to the authorizer: `authorizer.group('apps').resource('deployments').namespace('x').check('get').allowed()`.
//!
//! An answer takes time that an evaluation does not have: a question that has no answer yet ends it with
//! [`EvalError::Unanswered`](crate::EvalError), and it is started again when the answer is there.

use std::sync::Arc;

use super::{ONE, Outcome, Row, no_such_overload};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("Authorizer::path(string) -> PathCheck", ONE, |a| with(a, Step::Path, |q| &mut q.path)),
    ("Authorizer::group(string) -> GroupCheck", ONE, |a| with(a, Step::Group, |q| &mut q.group)),
    ("Authorizer::serviceAccount(string, string) -> Authorizer", ONE, service_account),
    ("GroupCheck::resource(string) -> ResourceCheck", ONE, |a| with(a, Step::Resource, |q| &mut q.resource)),
    ("ResourceCheck::subresource(string) -> ResourceCheck", ONE, |a| with(a, Step::Resource, |q| &mut q.subresource)),
    ("ResourceCheck::namespace(string) -> ResourceCheck", ONE, |a| with(a, Step::Resource, |q| &mut q.namespace)),
    ("ResourceCheck::name(string) -> ResourceCheck", ONE, |a| with(a, Step::Resource, |q| &mut q.name)),
    ("ResourceCheck::fieldSelector(string) -> ResourceCheck", ONE, |a| {
        with(a, Step::Resource, |q| &mut q.field_selector)
    }),
    ("ResourceCheck::labelSelector(string) -> ResourceCheck", ONE, |a| {
        with(a, Step::Resource, |q| &mut q.label_selector)
    }),
    ("Decision::allowed() -> bool", ONE, |a| decided(a, |allowed, _| allowed.into())),
    ("Decision::reason() -> string", ONE, |a| decided(a, |_, reason| reason.into())),
    ("Decision::errored() -> bool", ONE, |a| decided(a, |_, _| false.into())),
    ("Decision::error() -> string", ONE, |a| decided(a, |_, _| "".into())),
];

/// The overloads that ask.
pub(super) const CHECKS: &[&str] =
    &["PathCheck::check(string) -> Decision", "ResourceCheck::check(string) -> Decision"];

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Check {
    /// The service account (namespace, name) that it is about; otherwise it is the user of the request.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource; empty for resources.
    pub path: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    Path,
    Group,
    Resource,
    Decided(bool),
}

/// A question in the making, or its answer.
#[derive(Clone, Debug)]
pub struct AuthorizerValue {
    question: Check,
    step: Step,
    reason: String,
}

impl AuthorizerValue {
    /// `authorizer`.
    pub fn start() -> Value {
        Value::Authorizer(Arc::new(AuthorizerValue {
            question: Check::default(),
            step: Step::Start,
            reason: String::new(),
        }))
    }

    /// `authorizer.requestResource`: about the resource of a request.
    pub fn resource(question: Check) -> Value {
        Value::Authorizer(Arc::new(AuthorizerValue { question, step: Step::Resource, reason: String::new() }))
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.step {
            Step::Start => "kubernetes.authorization.Authorizer",
            Step::Path => "kubernetes.authorization.PathCheck",
            Step::Group => "kubernetes.authorization.GroupCheck",
            Step::Resource => "kubernetes.authorization.ResourceCheck",
            Step::Decided(_) => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) fn question(&self, verb: &str) -> Check {
        Check { verb: verb.to_owned(), ..self.question.clone() }
    }
}

/// The answer as a value.
pub(crate) fn decision(question: Check, allowed: bool, reason: &str) -> Value {
    let step = Step::Decided(allowed);
    Value::Authorizer(Arc::new(AuthorizerValue { question, step, reason: reason.to_owned() }))
}

/// The question with one field set to the argument.
fn with(args: &[Value], step: Step, field: fn(&mut Check) -> &mut String) -> Outcome {
    let (Value::Authorizer(before), Value::String(text)) = (&args[0], &args[1]) else { return no_such_overload() };
    let mut next = AuthorizerValue { step, ..before.as_ref().clone() };
    *field(&mut next.question) = text.to_string();
    Ok(Value::Authorizer(Arc::new(next)))
}

fn service_account(args: &[Value]) -> Outcome {
    let (Value::Authorizer(before), Value::String(namespace), Value::String(name)) = (&args[0], &args[1], &args[2])
    else {
        return no_such_overload();
    };
    let mut next = before.as_ref().clone();
    next.question.service_account = Some((namespace.to_string(), name.to_string()));
    Ok(Value::Authorizer(Arc::new(next)))
}

fn decided(args: &[Value], answer: fn(bool, &str) -> Value) -> Outcome {
    match &args[0] {
        Value::Authorizer(value) => match value.step {
            Step::Decided(allowed) => Ok(answer(allowed, &value.reason)),
            _ => no_such_overload(),
        },
        _ => no_such_overload(),
    }
}
