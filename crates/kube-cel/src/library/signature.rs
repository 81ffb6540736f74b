//! Signatures as text: `string::find(string, int) -> string` is called on a string, `size(list(A)) -> int` is not. Capital
//! letters are parameters.

use crate::types::Type;

/// The types of an overload. The first is what a member function is called on.
pub(crate) struct Signature {
    pub(crate) member: bool,
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
    /// How many parameters the types have.
    pub(crate) variables: usize,
}

/// The types of `A`, `B`, `K` and `V` are the parameters of signatures.
const VARIABLES: &str = "ABKV";

/// The function's name and the signature.
///
/// # Panics
/// When the text is not a signature: the tables are constants.
pub(super) fn parse(text: &'static str) -> (&'static str, Signature) {
    let (call, result) = text.rsplit_once(" -> ").expect("signature without a result");
    let (target, call) = call.split_once("::").map_or((None, call), |(target, call)| (Some(target), call));
    let (name, params) = call.split_once('(').expect("signature without parameters");
    let params = params.strip_suffix(')').expect("signature without an end");
    let params: Vec<Type> = target.into_iter().chain(split(params)).map(one).collect();
    let result = one(result);
    let variables = VARIABLES.len();
    (name, Signature { member: target.is_some(), params, result, variables })
}

/// Splits at the commas outside of brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn one(text: &str) -> Type {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("list(").and_then(|t| t.strip_suffix(')')) {
        return Type::list(one(inner));
    }
    if let Some(inner) = text.strip_prefix("optional(").and_then(|t| t.strip_suffix(')')) {
        return Type::optional(one(inner));
    }
    if let Some(inner) = text.strip_prefix("type(").and_then(|t| t.strip_suffix(')')) {
        return Type::Type(one(inner).into());
    }
    if let Some(inner) = text.strip_prefix("map(").and_then(|t| t.strip_suffix(')')) {
        let types: Vec<Type> = split(inner).map(one).collect();
        let [key, value] = <[Type; 2]>::try_from(types).expect("a map has keys and values");
        return Type::map(key, value);
    }
    if let Some(index) = VARIABLES.find(text).filter(|_| text.len() == 1) {
        return Type::Param(index);
    }
    match text {
        "dyn" => Type::Dyn,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "null" => Type::Null,
        "URL" => Type::Opaque("kubernetes.URL", Vec::new()),
        "IP" => Type::Opaque("net.IP", Vec::new()),
        "CIDR" => Type::Opaque("net.CIDR", Vec::new()),
        "Quantity" => Type::Opaque("kubernetes.Quantity", Vec::new()),
        "Semver" => Type::Opaque("kubernetes.Semver", Vec::new()),
        "Format" => Type::Opaque("kubernetes.NamedFormat", Vec::new()),
        "Authorizer" => Type::Opaque("kubernetes.authorization.Authorizer", Vec::new()),
        "PathCheck" => Type::Opaque("kubernetes.authorization.PathCheck", Vec::new()),
        "GroupCheck" => Type::Opaque("kubernetes.authorization.GroupCheck", Vec::new()),
        "ResourceCheck" => Type::Opaque("kubernetes.authorization.ResourceCheck", Vec::new()),
        "Decision" => Type::Opaque("kubernetes.authorization.Decision", Vec::new()),
        other => Type::scalar(other).unwrap_or_else(|| panic!("no type is called {other}")),
    }
}
