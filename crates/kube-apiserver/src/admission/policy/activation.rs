//! What the expressions of policies see, and running them within their budget.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use kube_cel::{AuthorizerValue, BUDGET, Check, EvalError, Scope, Value as Cel};

use super::compiled::Compiled;

/// What all match conditions of a policy or webhook together may cost.
const CONDITIONS_BUDGET: u64 = 250_000;
const OVER_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What the authorizer said so far: whether, and why.
pub(in crate::admission) type Answers = HashMap<Check, (bool, String)>;

/// A question that has to be answered before an evaluation can go on.
#[derive(Debug)]
pub(in crate::admission) struct Unanswered(pub(super) Box<Check>);

/// Why no more expressions are run.
#[derive(Debug)]
pub(super) enum Stop {
    Unanswered(Unanswered),
    /// What the client is told.
    OverBudget(String),
}

/// The variables of a request that do not depend on the policy.
#[derive(Clone)]
pub(in crate::admission) struct Inputs {
    pub(super) object: Cel,
    pub(super) old_object: Cel,
    pub(super) request: Cel,
    pub(super) namespace: Cel,
    /// What `authorizer.requestResource` asks about.
    pub(super) resource: Check,
}

/// The scope of the expressions of one policy (with one set of parameters) or webhook.
pub(in crate::admission) struct Activation<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) params: Cel,
    variables: &'a [(String, Compiled)],
    answers: &'a Answers,
    /// Variables that were worked out.
    made: RefCell<BTreeMap<String, Result<Cel, EvalError>>>,
    /// What working out variables cost since it was last asked.
    spent: Cell<u64>,
}

impl Scope for Activation<'_> {
    fn variable(&self, name: &str) -> Option<Result<Cel, EvalError>> {
        let inputs = self.inputs;
        Some(Ok(match name {
            "object" => inputs.object.clone(),
            "oldObject" => inputs.old_object.clone(),
            "request" => inputs.request.clone(),
            "namespaceObject" => inputs.namespace.clone(),
            "params" => self.params.clone(),
            "authorizer" => AuthorizerValue::start(),
            "authorizer.requestResource" => AuthorizerValue::resource(inputs.resource.clone()),
            "variables" => return Some(self.all_variables()),
            _ => return None,
        }))
    }

    fn field(&self, variable: &str, name: &str) -> Option<Result<Cel, EvalError>> {
        if variable != "variables" {
            return None;
        }
        let (_, compiled) = self.variables.iter().find(|(n, _)| n == name)?;
        Some(self.made(name, compiled))
    }

    fn answer(&self, question: &Check) -> Option<(bool, String)> {
        self.answers.get(question).cloned()
    }
}

impl<'a> Activation<'a> {
    pub(in crate::admission) fn new(
        variables: &'a [(String, Compiled)],
        inputs: &'a Inputs,
        params: Cel,
        answers: &'a Answers,
    ) -> Self {
        Activation { inputs, params, variables, answers, made: RefCell::default(), spent: Cell::new(0) }
    }

    fn all_variables(&self) -> Result<Cel, EvalError> {
        let fields = self.variables.iter().map(|(name, made)| Ok((name.clone(), self.made(name, made)?)));
        Ok(Cel::map(fields.collect::<Result<Vec<_>, EvalError>>()?))
    }

    /// A variable's value, worked out when it is first used.
    fn made(&self, name: &str, compiled: &Compiled) -> Result<Cel, EvalError> {
        if let Some(made) = self.made.borrow().get(name) {
            return made.clone();
        }
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            EvalError::Message(format!("composited variable {name:?} fails to {what}: {error}"))
        };
        let value = match compiled {
            Err(error) => Err(failed("compile", error)),
            Ok(expression) => {
                let (value, cost) = expression.evaluate(self);
                self.spent.set(self.spent.get().saturating_add(cost));
                value.map_err(|error| match error {
                    EvalError::Unanswered(_) => error,
                    other => failed("evaluate", &other),
                })
            }
        };
        if !matches!(value, Err(EvalError::Unanswered(_))) {
            self.made.borrow_mut().insert(name.to_owned(), value.clone());
        }
        value
    }

    /// Runs an expression; takes its cost from the budget.
    pub(super) fn run(&self, compiled: &Compiled, budget: &mut u64) -> Result<Result<Cel, String>, Stop> {
        let expression = match compiled {
            Ok(expression) => expression,
            Err(error) => return Ok(Err(error.clone())),
        };
        let (value, cost) = expression.evaluate(self);
        let cost = cost.saturating_add(self.spent.take());
        if let Err(EvalError::Unanswered(question)) = value {
            return Err(Stop::Unanswered(Unanswered(question)));
        }
        if cost > *budget {
            return Err(Stop::OverBudget(OVER_BUDGET.to_owned()));
        }
        *budget -= cost;
        Ok(value.map_err(|error| format!("expression '{}' resulted in error: {error}", expression.source())))
    }

    /// Whether all match conditions hold. One that is false decides; otherwise an error does.
    pub(in crate::admission) fn conditions(&self, all: &[Compiled]) -> Result<Result<bool, String>, Unanswered> {
        let mut budget = CONDITIONS_BUDGET;
        let mut failed = Vec::new();
        for condition in all {
            match self.run(condition, &mut budget) {
                Ok(Ok(Cel::Bool(true))) => {}
                Ok(Ok(_)) => return Ok(Ok(false)),
                Ok(Err(error)) => failed.push(error),
                Err(Stop::OverBudget(error)) => {
                    failed.push(error);
                    break;
                }
                Err(Stop::Unanswered(question)) => return Err(question),
            }
        }
        Ok(match failed.len() {
            0 => Ok(true),
            1 => Err(failed.remove(0)),
            _ => Err(format!("[{}]", failed.join(", "))),
        })
    }

    /// The budget of all expressions of a policy for one request.
    pub(super) fn budget() -> u64 {
        BUDGET
    }
}
