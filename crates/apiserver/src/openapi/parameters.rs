//! Query and path parameters of operations.

use api_types::schema::{Scalar, Type};
use serde_json::{Map, Value, json};

use super::Version;

/// What a request may say in its query, with the type of each.
pub(super) type Parameters = &'static [(&'static str, &'static str)];

pub(super) const WRITE: Parameters = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
pub(super) const FORCE: Parameters = &[("force", "boolean")];
pub(super) const PRETTY: Parameters = &[("pretty", "string")];
pub(super) const WATCH: Parameters = &[("allowWatchBookmarks", "boolean"), ("watch", "boolean")];
pub(super) const LIST: Parameters = &[
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
];
pub(super) const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
pub(super) const LOG: Parameters = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

/// The names in braces of a path, as parameters.
pub(super) fn of_path(style: Version, path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name);
    names.map(|name| parameter(style, "path", name, "string")).collect()
}

pub(super) fn of_query(style: Version, names: Parameters) -> impl Iterator<Item = Value> {
    names.iter().map(move |(name, kind)| parameter(style, "query", name, kind))
}

pub(super) fn parameter(style: Version, place: &str, name: &str, kind: &str) -> Value {
    let mut parameter = match style {
        Version::V2 => json!({"in": place, "name": name, "type": kind, "uniqueItems": true}),
        Version::V3 => json!({"in": place, "name": name, "schema": {"type": kind, "uniqueItems": true}}),
    };
    if place == "path" {
        parameter["required"] = json!(true);
    }
    parameter
}

/// How a field of options is written in a query: a list is its item, repeated.
pub(super) fn type_of(ty: &Type) -> &'static str {
    match ty {
        Type::Scalar(Scalar::Bool) => "boolean",
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => "integer",
        Type::List(list) => type_of(&list.item),
        _ => "string",
    }
}

/// Moves what all operations of a path share from them to the path.
pub(super) fn share(operations: &mut Map<String, Value>) {
    let lists = operations.values().map(|o| o["parameters"].as_array().cloned().unwrap_or_default());
    let mut shared = lists.clone().next().unwrap_or_default();
    shared.retain(|p| p["in"] != "body" && lists.clone().all(|list| list.contains(p)));
    for operation in operations.values_mut() {
        let Value::Object(operation) = operation else { continue };
        let mut own = operation.remove("parameters").and_then(|p| p.as_array().cloned()).unwrap_or_default();
        own.retain(|p| !shared.contains(p));
        if !own.is_empty() {
            operation.insert("parameters".to_owned(), sorted(own));
        }
    }
    if !shared.is_empty() {
        operations.insert("parameters".to_owned(), sorted(shared));
    }
}

fn sorted(mut list: Vec<Value>) -> Value {
    let key = |p: &Value| (p["name"].to_string(), p["in"].to_string());
    list.sort_by_key(key);
    Value::Array(list)
}
