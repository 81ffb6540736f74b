//! The expressions of policies and webhooks, compiled in the order in which they may refer to each other.

use std::collections::BTreeMap;

use kube_cel::{Expression, Type};

use crate::cel::{Admission, Results, compile, with_variables};
use crate::field::{Errors, Field};

/// What the expressions of one policy may refer to.
pub(super) struct Expressions {
    options: Admission,
    /// The variables that are known so far; none where a policy has no variables at all.
    variables: Option<BTreeMap<String, Type>>,
}

impl Expressions {
    pub(super) fn new(spec: &Field, mutates: bool) -> Self {
        let options = Admission { params: spec.has("paramKind"), authorizer: true, mutates };
        let variables = (!spec.get("variables").is_empty()).then(BTreeMap::new);
        Expressions { options, variables }
    }

    /// Of a webhook's conditions.
    pub(super) fn of_webhook() -> Self {
        Expressions { options: Admission { authorizer: true, ..Admission::default() }, variables: None }
    }

    /// Conditions don't see the variables.
    pub(super) fn conditions(&self) -> Self {
        Expressions { options: Admission { mutates: false, ..self.options }, variables: None }
    }

    /// Compiles a variable's expression as it is written; later expressions may refer to it, even when it is wrong.
    pub(super) fn define(&mut self, name: &str, expression: &Field, errors: &mut Errors) {
        let text = expression.str();
        let compiled = self.compile(expression, text, text, true, &Results::Any, errors);
        if let Some(variables) = &mut self.variables {
            variables.insert(name.to_owned(), compiled.map_or(Type::Dyn, |c| c.ty().clone()));
        }
    }

    /// Compiles the text of a field without the space around it.
    pub(super) fn check(&self, field: &Field, authorizer: bool, results: &Results, errors: &mut Errors) {
        let text = field.str().trim();
        self.compile(field, text, text, authorizer, results, errors);
    }

    /// As [`Expressions::check`]; an error shows the text with the space.
    pub(super) fn check_as_written(&self, field: &Field, results: &Results, errors: &mut Errors) {
        self.compile(field, field.str().trim(), field.str(), true, results, errors);
    }

    fn compile(
        &self,
        field: &Field,
        text: &str,
        shown: &str,
        authorizer: bool,
        results: &Results,
        errors: &mut Errors,
    ) -> Option<Expression> {
        let mut environment = Admission { authorizer, ..self.options }.environment();
        if let Some(variables) = &self.variables {
            environment = with_variables(environment, variables);
        }
        match compile(text, &environment, results) {
            Ok(expression) => Some(expression),
            Err(problem) => {
                errors.invalid_as(field, shown, problem);
                None
            }
        }
    }
}
