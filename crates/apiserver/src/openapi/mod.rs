//! OpenAPI documents, derived from the served resources and their schemas: version 3 (one document per group version)
//! and version 2 (one for all).
//!
//! What clients live on is here: types, list types and map keys, patch strategies, kinds of operations, the query parameters that
//! clients probe for. Prose (descriptions) is not: explanations of fields are upstream's text.

mod components;
mod custom;
mod operations;
mod parameters;
mod paths;
mod roots;

pub use roots::{Root, root};

use std::{collections::BTreeMap, sync::Arc};

use api_types::schema::{Schema, Type};
use serde_json::{Value, json};

use components::Components;

/// A kind as OpenAPI names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl GroupVersionKind {
    fn extension(&self) -> Value {
        json!({"group": self.group, "kind": self.kind, "version": self.version})
    }
}

/// What a body looks like.
#[derive(Clone, Debug)]
pub enum Shape {
    /// By the schema table.
    Table(Schema),
    /// As the author of a custom resource wrote it.
    Custom(Arc<Value>),
}

/// One resource of a group version, or one of its subresources.
#[derive(Clone, Debug)]
pub struct Operations {
    /// `deployments`, `deployments/status`.
    pub path: String,
    /// The kind of the resource, which names the operations of its subresources too.
    pub owner: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// What requests and answers carry.
    pub body: GroupVersionKind,
    /// `None` where the body has no schema of its own (logs, proxied requests).
    pub schema: Option<Shape>,
    /// The schema of a list; `None` is a plain list of the body (custom resources).
    pub list_schema: Option<Schema>,
    /// Whether a deletion answers the object rather than a `Status`.
    pub returns_deleted: bool,
    /// A custom resource: no protobuf, no strategic merge patch, no paths for the old form of watch.
    pub custom: bool,
}

/// Which version of OpenAPI is written: they differ in where components are and how a body is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
}

impl Version {
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Version::V2 => "#/definitions/",
            Version::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{place}{name}")})
    }
}

/// The document of one group version (`apis/apps/v1`).
pub fn v3(group: &str, version: &str, operations: &[Operations]) -> Value {
    let mut components = Components::new(Version::V3);
    let paths = paths::of_group_version(Version::V3, group, version, operations, &mut components);
    document(paths, components)
}

/// A document of version 3.
fn document(paths: BTreeMap<String, Value>, components: Components) -> Value {
    let mut all = json!({ "securitySchemes": { "BearerToken": bearer_token() } });
    let schemas = components.finish();
    if !schemas.is_empty() {
        all["schemas"] = json!(schemas);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": all,
    })
}

/// The one document of all group versions.
pub fn v2(server_version: &str, all: &[(String, String, Vec<Operations>)]) -> Value {
    let mut components = Components::new(Version::V2);
    let mut paths = BTreeMap::new();
    let of_groups = all.iter().filter(|(group, ..)| !group.is_empty()).map(|(group, ..)| Root::Group(group));
    for of in Root::FIXED.into_iter().chain(of_groups) {
        paths.extend([roots::of_root(Version::V2, of, &mut components)]);
    }
    for (group, version, operations) in all {
        paths.extend(paths::of_group_version(Version::V2, group, version, operations, &mut components));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "definitions": components.finish(),
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer token"})
}

/// The name of a group version's document in the index: `api/v1`, `apis/apps/v1`.
pub fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The component's name of a kind: by its Go package for built-in types, by the reversed group for custom ones.
fn component_name(kind: &GroupVersionKind, shape: Option<&Shape>) -> String {
    match shape {
        Some(Shape::Table(Type::Struct(of))) if !of.package.is_empty() => {
            components::struct_name(&of.package, &of.name)
        }
        _ => {
            let mut group: Vec<&str> = kind.group.split('.').collect();
            group.reverse();
            format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployments() -> Operations {
        Operations {
            path: "deployments".into(),
            owner: "Deployment".into(),
            namespaced: true,
            verbs: ["create", "get", "list", "patch", "update"].map(str::to_owned).into(),
            body: GroupVersionKind { group: "apps".into(), version: "v1".into(), kind: "Deployment".into() },
            schema: api_types::schema::lookup("apps", "v1", "Deployment").map(Shape::Table),
            list_schema: api_types::schema::lookup("apps", "v1", "DeploymentList"),
            returns_deleted: false,
            custom: false,
        }
    }

    #[test]
    fn a_document_is_closed() {
        let document = v3("apps", "v1", &[deployments()]);
        let schemas = &document["components"]["schemas"];
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(!schemas[name].is_null(), "{name} is referred to and not there");
        }
    }

    #[test]
    fn markers_that_clients_merge_by() {
        let document = v3("apps", "v1", &[deployments()]);
        let pod_spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
        assert_eq!(pod_spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(pod_spec["properties"]["containers"]["x-kubernetes-list-map-keys"], json!(["name"]));
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        let parameters = patch["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"));
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    }
}
