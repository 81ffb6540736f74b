//! Operations as OpenAPI paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{GroupVersionKind, Operations, Version, components::Components, document_path};

/// Media types that bodies come in.
const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const WRITE_PARAMETERS: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const LIST_PARAMETERS: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE_PARAMETERS: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// An operation of a resource's verbs: the verb, the HTTP method, whether its path ends with the object's name, and the action
/// as clients read it.
const VERBS: [(&str, &str, bool, &str); 7] = [
    ("list", "get", false, "list"),
    ("create", "post", false, "post"),
    ("deletecollection", "delete", false, "deletecollection"),
    ("get", "get", true, "get"),
    ("update", "put", true, "put"),
    ("patch", "patch", true, "patch"),
    ("delete", "delete", true, "delete"),
];

pub(super) fn of_group_version(
    style: Version,
    group: &str,
    version: &str,
    operations: &[Operations],
    components: &mut Components,
) -> BTreeMap<String, Value> {
    let root = format!("/{}", document_path(group, version));
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for resource in operations {
        let writer = Writer { style, group, version, resource };
        for (verb, method, named, action) in VERBS {
            if !resource.verbs.iter().any(|v| v == verb) {
                continue;
            }
            for path in writer.paths(&root, named, verb) {
                let operation = writer.operation(verb, action, components);
                let item = paths.entry(path.clone()).or_default();
                item.entry("parameters").or_insert_with(|| json!(path_parameters(style, &path)));
                item.insert(method.to_owned(), operation);
            }
        }
    }
    paths.into_iter().map(|(path, item)| (path, Value::Object(item))).collect()
}

struct Writer<'a> {
    style: Version,
    group: &'a str,
    version: &'a str,
    resource: &'a Operations,
}

impl Writer<'_> {
    /// The paths of an operation: a namespaced list is there for all namespaces too.
    fn paths(&self, root: &str, named: bool, verb: &str) -> Vec<String> {
        let (plural, subresource) = match self.resource.path.split_once('/') {
            Some((plural, sub)) => (plural, Some(sub)),
            None => (self.resource.path.as_str(), None),
        };
        let scope = if self.resource.namespaced { "/namespaces/{namespace}" } else { "" };
        if let Some(subresource) = subresource {
            return vec![format!("{root}{scope}/{plural}/{{name}}/{subresource}")];
        }
        let tail = if named { "/{name}" } else { "" };
        let mut paths = vec![format!("{root}{scope}/{plural}{tail}")];
        if verb == "list" && self.resource.namespaced {
            paths.push(format!("{root}/{plural}"));
        }
        paths
    }

    fn operation(&self, verb: &str, action: &str, components: &mut Components) -> Value {
        let answer = self.answer(verb, components);
        let mut operation = json!({
            "tags": [if self.group.is_empty() { format!("core_{}", self.version) } else { format!("{}_{}", tag(self.group), self.version) }],
            "operationId": format!("{action}{}{}{}", camel(self.group), camel(self.version), camel(&self.resource.path)),
            "responses": {"200": self.response(answer), "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": self.resource.body.extension(),
        });
        let mut parameters = query_parameters(self.style, verb);
        self.add_body(verb, components, &mut operation, &mut parameters);
        operation["parameters"] = Value::Array(parameters);
        operation
    }

    fn answer(&self, verb: &str, components: &mut Components) -> Option<Value> {
        let schema = self.resource.schema.as_ref()?;
        let body = &self.resource.body;
        if verb != "list" {
            return Some(components.kind(body, schema));
        }
        let list = GroupVersionKind { kind: format!("{}List", body.kind), ..body.clone() };
        Some(match &self.resource.list_schema {
            Some(of) => components.kind(&list, of),
            None => components.list_of(body, schema),
        })
    }

    fn response(&self, schema: Option<Value>) -> Value {
        let mut response = json!({"description": "OK"});
        if let Some(schema) = schema {
            match self.style {
                Version::V2 => response["schema"] = schema,
                Version::V3 => response["content"] = content(&MEDIA_TYPES, &schema),
            }
        }
        response
    }

    fn add_body(&self, verb: &str, components: &mut Components, operation: &mut Value, parameters: &mut Vec<Value>) {
        let Some(schema) = self.resource.schema.as_ref().filter(|_| matches!(verb, "create" | "update" | "patch"))
        else {
            return;
        };
        let (types, schema): (&[&str], Value) = match verb {
            "patch" => (&PATCH_TYPES, json!({"type": "object"})),
            _ => (&["*/*"], components.kind(&self.resource.body, schema)),
        };
        match self.style {
            Version::V2 => {
                parameters.push(json!({"in": "body", "name": "body", "required": true, "schema": schema}));
                operation["consumes"] = json!(types);
            }
            Version::V3 => operation["requestBody"] = json!({"required": true, "content": content(types, &schema)}),
        }
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect())
}

fn query_parameters(style: Version, verb: &str) -> Vec<Value> {
    let list = |names: &[(&str, &str)]| names.iter().map(|(n, t)| parameter(style, "query", n, t, false)).collect();
    match verb {
        "create" | "update" => list(&WRITE_PARAMETERS),
        "patch" => {
            let mut all: Vec<Value> = list(&WRITE_PARAMETERS);
            all.push(parameter(style, "query", "force", "boolean", false));
            all
        }
        "list" | "deletecollection" => list(&LIST_PARAMETERS),
        "delete" => list(&DELETE_PARAMETERS),
        _ => Vec::new(),
    }
}

fn path_parameters(style: Version, path: &str) -> Vec<Value> {
    let names = ["name", "namespace"].into_iter().filter(|n| path.contains(&format!("{{{n}}}")));
    let mut list: Vec<Value> = names.map(|n| parameter(style, "path", n, "string", true)).collect();
    list.push(parameter(style, "query", "pretty", "string", false));
    list
}

fn parameter(style: Version, place: &str, name: &str, kind: &str, required: bool) -> Value {
    let mut parameter = match style {
        Version::V2 => json!({"in": place, "name": name, "type": kind, "uniqueItems": true}),
        Version::V3 => json!({"in": place, "name": name, "schema": {"type": kind, "uniqueItems": true}}),
    };
    if required {
        parameter["required"] = json!(true);
    }
    parameter
}

/// `rbac.authorization.k8s.io` → `rbacAuthorization`.
fn tag(group: &str) -> String {
    let mut words = group.trim_end_matches(".k8s.io").split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |tag, word| tag + &camel(word))
}

/// `deployments/status` → `DeploymentsStatus`.
fn camel(text: &str) -> String {
    let words = text.split(['/', '.', '-']).filter(|w| !w.is_empty());
    words
        .map(|word| {
            let mut chars = word.chars();
            chars.next().map(|c| c.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
        })
        .collect()
}
