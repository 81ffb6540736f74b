//! The functions of expressions: CEL's own, its string, set and optional extensions, and Kubernetes' libraries. Each is rows of
//! a table: signature, cost, code.

mod authorizer;
mod format;
mod lists;
mod net;
mod numbers;
mod operators;
mod optional;
mod quantity;
mod semver;
mod signature;
mod strings;
mod time;
mod url;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use regex::Regex;

pub use authorizer::{AuthorizerValue, Check};
pub use format::NamedFormat;
pub use net::Cidr;
pub use url::Url;

use crate::EvalError;
use crate::types::Type;
use crate::value::Value;

pub(crate) use authorizer::decision;
pub(crate) use signature::Signature;

type Outcome = Result<Value, EvalError>;

/// What an overload does.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    Pure(fn(&[Value]) -> Outcome),
    /// Asks the authorizer.
    Check,
}

/// What a call costs, at run time by the sizes of its arguments and when it is estimated by their bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cost {
    Fixed(u64),
    /// A pass over the first argument, times this.
    Scan(u64),
    /// A pass over both of the first two.
    ScanBoth,
    /// A pass over the shorter of the two.
    ScanShorter,
    /// A pass over the first for each part of the second.
    ScanProduct,
    /// A regular expression on a text.
    Regex,
    /// One for each item of the second argument.
    Items,
    /// A pass over the items of the first argument.
    Traverse,
    /// As long as the result, twice.
    Result,
    /// Addresses are compared; true: the second is parsed first.
    Contains(bool),
    /// Networks are compared; true: the second is parsed first.
    ContainsNetwork(bool),
}

/// One way to call a function.
pub(crate) struct Overload {
    pub(crate) signature: Signature,
    pub(crate) cost: Cost,
    pub(crate) run: Run,
}

/// A function and its overloads.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

/// (signature, cost, code), see [`signature`].
type Row = (&'static str, Cost, fn(&[Value]) -> Outcome);

const ONE: Cost = Cost::Fixed(1);

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
    let tables = [
        operators::ROWS,
        numbers::ROWS,
        strings::ROWS,
        time::ROWS,
        lists::ROWS,
        optional::ROWS,
        url::ROWS,
        net::ROWS,
        quantity::ROWS,
        semver::ROWS,
        format::ROWS,
        authorizer::ROWS,
    ];
    let rows = tables.into_iter().flatten().map(|(text, cost, run)| (*text, *cost, Run::Pure(*run)));
    let checks = authorizer::CHECKS.iter().map(|text| (*text, Cost::Fixed(350_000), Run::Check));
    let mut functions: HashMap<&'static str, Function> = HashMap::new();
    for (text, cost, run) in rows.chain(checks) {
        let (name, signature) = signature::parse(text);
        let function = functions.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() });
        function.overloads.push(Overload { signature, cost, run });
    }
    functions
});

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

/// The types that are values, by name.
pub(crate) fn type_value(name: &str) -> Option<Type> {
    Some(match name {
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Type(Type::Dyn.into()),
        name => Type::scalar(name)?,
    })
}

fn fail<T>(message: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError::Message(message.into()))
}

/// The answer to arguments that the signature does not let through.
pub(crate) fn no_such_overload<T>() -> Result<T, EvalError> {
    fail("no such overload")
}

/// A compiled pattern; those that were used lately are kept.
fn pattern(text: &str) -> Result<Regex, EvalError> {
    const KEPT: usize = 256;
    static CACHE: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = cache.get(text) {
        return Ok(found.clone());
    }
    let compiled = compile_pattern(text).map_err(EvalError::Message)?;
    if cache.len() >= KEPT {
        cache.clear();
    }
    cache.insert(text.to_owned(), compiled.clone());
    Ok(compiled)
}

/// A pattern, or what is wrong with it.
pub(crate) fn compile_pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let detail = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("error parsing regexp: {detail}: `{text}`")
    })
}
