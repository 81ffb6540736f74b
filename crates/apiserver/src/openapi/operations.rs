//! One operation: its name, parameters, body and answers.

use api_types::schema::{Field, Type};
use serde_json::{Map, Value, json};

use super::{
    GroupVersionKind, Operations, Shape, Version,
    components::Components,
    parameters,
    paths::{self, Operation},
};

/// Media types that bodies come in.
pub(super) const MEDIA_TYPES: [&str; 3] =
    ["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const CUSTOM_MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];
const STREAM_TYPES: [&str; 5] = [
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// What an operation does, as clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    WatchList,
    Watch,
    Create,
    DeleteCollection,
    Get,
    Update,
    Patch,
    Delete,
    Connect,
}

// === impl Action ===

impl Action {
    fn name(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::WatchList => "watchlist",
            Action::Watch => "watch",
            Action::Create => "post",
            Action::DeleteCollection => "deletecollection",
            Action::Get => "get",
            Action::Update => "put",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::Connect => "connect",
        }
    }

    /// The first word of the operation's id.
    fn word(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::WatchList | Action::Watch => "watch",
            Action::Create => "create",
            Action::DeleteCollection | Action::Delete => "delete",
            Action::Get => "read",
            Action::Update => "replace",
            Action::Patch => "patch",
            Action::Connect => "connect",
        }
    }

    fn parameters(self) -> Vec<parameters::Parameters> {
        match self {
            Action::List | Action::WatchList | Action::Watch => {
                vec![parameters::LIST, parameters::WATCH, parameters::PRETTY]
            }
            Action::Create | Action::Update => vec![parameters::WRITE, parameters::PRETTY],
            Action::Patch => vec![parameters::WRITE, parameters::FORCE, parameters::PRETTY],
            Action::Delete => vec![parameters::DELETE, parameters::PRETTY],
            Action::DeleteCollection => vec![parameters::DELETE, parameters::LIST, parameters::PRETTY],
            Action::Get => vec![parameters::PRETTY],
            Action::Connect => Vec::new(),
        }
    }

    /// The answers of success, with what each is described as.
    fn answers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Action::Create => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            Action::Update | Action::Patch => &[("200", "OK"), ("201", "Created")],
            Action::Delete => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        }
    }
}

/// Writes the operations of one resource.
pub(super) struct Writer<'a> {
    pub(super) style: Version,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) resource: &'a Operations,
}

// === impl Writer ===

impl Writer<'_> {
    pub(super) fn operation(&self, operation: &Operation, path: &str, components: &mut Components) -> Value {
        let action = operation.action;
        let mut value = json!({
            "tags": [format!("{}_{}", paths::tag(self.group), self.version)],
            "operationId": self.id(operation),
            "x-kubernetes-action": action.name(),
            "x-kubernetes-group-version-kind": self.resource.body.extension(),
        });
        let mut list = parameters::of_path(self.style, path);
        list.extend(action.parameters().into_iter().flat_map(|names| parameters::of_query(self.style, names)));
        if self.is_log() {
            list.extend(parameters::of_query(self.style, parameters::LOG));
        }
        if action == Action::Connect {
            list.extend(self.connection());
        }
        let mut responses = Map::from_iter([("401".to_owned(), paths::unauthorized())]);
        let answer = self.answer(action, components);
        for (code, description) in action.answers() {
            responses.insert((*code).to_owned(), self.response(action, description, &answer));
        }
        value["responses"] = Value::Object(responses);
        self.add_body(action, components, &mut value, &mut list);
        if self.style == Version::V2 {
            value["produces"] = json!(self.media_types(action));
            value["schemes"] = json!(["https"]);
        }
        value["parameters"] = Value::Array(list);
        value
    }

    /// `readAppsV1NamespacedDeploymentStatus`.
    fn id(&self, operation: &Operation) -> String {
        let group = paths::camel(&paths::tag(self.group));
        let mut id = format!("{}{group}{}", operation.action.word(), paths::camel(self.version));
        match operation.action {
            Action::Connect => id += &paths::camel(operation.method),
            Action::DeleteCollection => id += "Collection",
            _ => {}
        }
        if self.resource.namespaced && !operation.all_namespaces {
            id += "Namespaced";
        }
        id += &self.resource.owner;
        if let Some((_, subresource)) = self.resource.path.split_once('/') {
            id += &paths::camel(subresource);
        }
        if operation.path.ends_with("/{path}") {
            id += "WithPath";
        }
        if operation.action == Action::WatchList {
            id += "List";
        }
        if operation.all_namespaces {
            id += "ForAllNamespaces";
        }
        id
    }

    /// Logs are text, whatever kind discovery gives them.
    fn is_log(&self) -> bool {
        self.resource.path.ends_with("/log")
    }

    fn answer(&self, action: Action, components: &mut Components) -> Value {
        let body = &self.resource.body;
        let (Some(schema), false) = (&self.resource.schema, self.is_log() || action == Action::Connect) else {
            return json!({"type": "string"});
        };
        match action {
            Action::List => {
                let list = GroupVersionKind { kind: format!("{}List", body.kind), ..body.clone() };
                match &self.resource.list_schema {
                    Some(of) => components.kind(&list, &Shape::Table(of.clone())),
                    None => components.list_of(body, schema),
                }
            }
            Action::WatchList | Action::Watch => components.meta("WatchEvent", &self.kinds("WatchEvent")),
            Action::Delete if self.resource.returns_deleted => components.kind(body, schema),
            Action::Delete | Action::DeleteCollection => components.meta("Status", &[core("Status")]),
            _ => components.kind(body, schema),
        }
    }

    /// A kind that every group version has, as that of this one and of the core group.
    fn kinds(&self, kind: &str) -> Vec<GroupVersionKind> {
        let own = GroupVersionKind { group: self.group.into(), version: self.version.into(), kind: kind.into() };
        if own == core(kind) { vec![own] } else { vec![core(kind), own] }
    }

    fn media_types(&self, action: Action) -> Vec<&'static str> {
        match action {
            Action::Connect => vec!["*/*"],
            _ if self.is_log() => [&MEDIA_TYPES[..1], &["text/plain"], &MEDIA_TYPES[1..]].concat(),
            _ if self.resource.custom => CUSTOM_MEDIA_TYPES.to_vec(),
            Action::List | Action::WatchList | Action::Watch => STREAM_TYPES.to_vec(),
            _ => MEDIA_TYPES.to_vec(),
        }
    }

    fn response(&self, action: Action, description: &str, schema: &Value) -> Value {
        match self.style {
            Version::V2 => json!({"description": description, "schema": schema}),
            Version::V3 => json!({"description": description, "content": content(&self.media_types(action), schema)}),
        }
    }

    fn add_body(&self, action: Action, components: &mut Components, operation: &mut Value, list: &mut Vec<Value>) {
        let Some(schema) = self.resource.schema.as_ref() else { return };
        let (types, schema, required): (Vec<&str>, Value, bool) = match action {
            Action::Patch => {
                let any = json!({"type": "object"});
                let patch = components.plain("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", any);
                (PATCH_TYPES[..PATCH_TYPES.len() - usize::from(self.resource.custom)].to_vec(), patch, true)
            }
            Action::Create | Action::Update => (vec!["*/*"], components.kind(&self.resource.body, schema), true),
            Action::Delete | Action::DeleteCollection => {
                (vec!["*/*"], components.meta("DeleteOptions", &self.kinds("DeleteOptions")), false)
            }
            _ => return,
        };
        let mut body = match self.style {
            Version::V2 => json!({"in": "body", "name": "body", "schema": schema}),
            Version::V3 => json!({"content": content(&types, &schema)}),
        };
        if required {
            body["required"] = json!(true);
        }
        match self.style {
            Version::V2 => {
                operation["consumes"] = json!(types);
                list.push(body);
            }
            Version::V3 => operation["requestBody"] = body,
        }
    }

    /// The fields of the options of a connection, as parameters of its query.
    fn connection(&self) -> Vec<Value> {
        let Some(Shape::Table(Type::Struct(options))) = &self.resource.schema else { return Vec::new() };
        let fields = options.flat().iter().filter(|f| f.number > 0);
        let parameter = |f: &Field| parameters::parameter(self.style, "query", &f.name, parameters::type_of(&f.ty));
        fields.map(parameter).collect()
    }
}

fn core(kind: &str) -> GroupVersionKind {
    GroupVersionKind { group: String::new(), version: "v1".into(), kind: kind.into() }
}

pub(super) fn content(types: &[&str], schema: &Value) -> Value {
    Value::Object(types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect())
}
