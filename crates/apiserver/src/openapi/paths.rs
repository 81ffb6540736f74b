//! Which paths a group version has, and which operations each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    Operations, Version,
    components::Components,
    document_path,
    operations::{Action, Writer},
    parameters, roots,
};

/// The methods that a proxied request may have.
const PROXY_METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

pub(super) fn of_group_version(
    style: Version,
    group: &str,
    version: &str,
    operations: &[Operations],
    components: &mut Components,
) -> BTreeMap<String, Value> {
    let root = format!("/{}", document_path(group, version));
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    if !operations.iter().any(|o| o.custom) {
        paths.insert(format!("{root}/"), roots::resources_of(style, group, version, components));
    }
    for resource in operations {
        let writer = Writer { style, group, version, resource };
        for operation in list(resource) {
            let path = format!("{root}{}", operation.path);
            let value = writer.operation(&operation, &path, components);
            paths.entry(path).or_default().insert(operation.method.to_owned(), value);
        }
    }
    let share = |(path, mut item): (String, Map<String, Value>)| {
        parameters::share(&mut item);
        (path, Value::Object(item))
    };
    paths.into_iter().map(share).collect()
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) action: Action,
    pub(super) method: &'static str,
    /// Behind `/apis/<group>/<version>`.
    pub(super) path: String,
    /// Of a namespaced resource, but of all namespaces together.
    pub(super) all_namespaces: bool,
}

/// The operations of a resource, from its verbs.
fn list(resource: &Operations) -> Vec<Operation> {
    let (plural, subresource) = match resource.path.split_once('/') {
        Some((plural, sub)) => (plural, Some(sub)),
        None => (resource.path.as_str(), None),
    };
    let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let one = format!("{scope}/{plural}/{{name}}");
    if let Some(subresource) = subresource {
        return of_subresource(resource, &format!("{one}/{subresource}"));
    }
    let all = format!("{scope}/{plural}");
    let mut out = Vec::new();
    let mut add = |action, method, path: &str, all_namespaces| {
        out.push(Operation { action, method, path: path.to_owned(), all_namespaces });
    };
    for verb in &resource.verbs {
        match verb.as_str() {
            "list" => {
                add(Action::List, "get", &all, false);
                if resource.namespaced {
                    add(Action::List, "get", &format!("/{plural}"), true);
                }
            }
            "watch" if !resource.custom => {
                add(Action::WatchList, "get", &format!("/watch{all}"), false);
                add(Action::Watch, "get", &format!("/watch{one}"), false);
                if resource.namespaced {
                    add(Action::WatchList, "get", &format!("/watch/{plural}"), true);
                }
            }
            "create" => add(Action::Create, "post", &all, false),
            "deletecollection" => add(Action::DeleteCollection, "delete", &all, false),
            "get" => add(Action::Get, "get", &one, false),
            "update" => add(Action::Update, "put", &one, false),
            "patch" => add(Action::Patch, "patch", &one, false),
            "delete" => add(Action::Delete, "delete", &one, false),
            _ => {}
        }
    }
    out
}

fn of_subresource(resource: &Operations, path: &str) -> Vec<Operation> {
    let operation =
        |action, method, path: &str| Operation { action, method, path: path.to_owned(), all_namespaces: false };
    // The options of a connection are its kind: `PodExecOptions`.
    if resource.body.kind.ends_with("Options") {
        if !resource.body.kind.ends_with("ProxyOptions") {
            return ["get", "post"].map(|method| operation(Action::Connect, method, path)).into();
        }
        let below = format!("{path}/{{path}}");
        let paths = [path, &below].into_iter();
        return paths.flat_map(|p| PROXY_METHODS.map(|method| operation(Action::Connect, method, p))).collect();
    }
    let of_verb = |verb: &String| match verb.as_str() {
        "create" => Some(operation(Action::Create, "post", path)),
        "get" => Some(operation(Action::Get, "get", path)),
        "update" => Some(operation(Action::Update, "put", path)),
        "patch" => Some(operation(Action::Patch, "patch", path)),
        "delete" => Some(operation(Action::Delete, "delete", path)),
        _ => None,
    };
    resource.verbs.iter().filter_map(of_verb).collect()
}

/// `rbac.authorization.k8s.io` → `rbacAuthorization`; the core group is `core`.
pub(super) fn tag(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let mut words = group.trim_end_matches(".k8s.io").split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |tag, word| tag + &camel(word))
}

/// `rbacAuthorization` → `RbacAuthorization`; separators start a word.
pub(super) fn camel(text: &str) -> String {
    let words = text.split(['/', '.', '-']).filter(|w| !w.is_empty());
    words
        .map(|word| {
            let mut chars = word.chars();
            chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
        })
        .collect()
}

/// The answer of a request without credentials.
pub(super) fn unauthorized() -> Value {
    json!({"description": "Unauthorized"})
}
