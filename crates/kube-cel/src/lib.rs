//! The Common Expression Language as Kubernetes has it: the `cel` crate's parser with a type checker, an evaluator that counts
//! costs, an estimate of costs, and Kubernetes' libraries of functions.
//!
//! Expressions are compiled against an [`Environment`]: the variables and their types. What is wrong is told in cel-go's
//! words. An evaluation is a pure function of a [`Scope`].
//!
//! **Invariant:** knows no object of the API; opens nothing, waits for nothing.

mod check;
mod estimate;
mod eval;
mod library;
mod node;
mod parse;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use check::{Environment, json_patch_type, object_type};
pub use estimate::{CostRange, Sizes};
pub use eval::Scope;
pub use library::{AuthorizerValue, Check, Cidr, NamedFormat, Url};
pub use types::{Fields, ObjectType, Type};
pub use value::{Key, List, ListKind, Value};

/// What one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all the evaluations for one object may cost.
pub const BUDGET: u64 = 10_000_000;
/// Longer texts that expressions make for messages are not used, in bytes.
pub const MAX_MESSAGE: usize = 5 * 1024;

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    #[error("{0}")]
    Message(String),
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
    /// The authorizer has to be asked first.
    #[error("the authorizer was not asked")]
    Unanswered(Box<Check>),
}

impl EvalError {
    /// Whether nothing else in the expression can make up for it.
    fn is_final(&self) -> bool {
        !matches!(self, EvalError::Message(_))
    }
}

/// Why a text is no expression, as upstream tells it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

/// A compiled expression. Cloning is cheap.
#[derive(Clone)]
pub struct Expression {
    root: Arc<node::Node>,
    source: Arc<str>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

impl Expression {
    /// Parses and checks.
    ///
    /// # Errors
    /// All that is wrong, as lines of `ERROR: <input>:1:5: undefined field 'size'` with the place marked.
    pub fn compile(source: &str, environment: &Environment) -> Result<Expression, CompileError> {
        let shown = |issues: Vec<parse::Issue>| CompileError(parse::render(source, &issues));
        let parsed = parse::parse(source).map_err(shown)?;
        let root = check::check(&parsed, environment).map_err(shown)?;
        Ok(Expression { root: Arc::new(root), source: source.into() })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of its values.
    pub fn ty(&self) -> &Type {
        &self.root.ty
    }

    /// Whether it mentions a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.root.mentions(variable)
    }

    /// The value in a scope, and what it cost.
    pub fn evaluate(&self, scope: &(impl Scope + ?Sized)) -> (Result<Value, EvalError>, u64) {
        eval::evaluate(&self.root, scope, PER_CALL_LIMIT)
    }

    /// What evaluations will cost, where texts, lists and maps are as long as `sizes` says.
    pub fn estimate(&self, sizes: &dyn Sizes) -> CostRange {
        estimate::estimate(&self.root, sizes)
    }
}
