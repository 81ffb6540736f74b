//! The types of expressions from an OpenAPI v3 document.

use std::sync::Arc;

use api_semantics::cel::field_name;
use kube_cel::{Fields, ObjectType, Type};
use serde_json::Value;

/// What the server publishes for a group version.
#[derive(Clone)]
pub(super) struct Document(Arc<Value>);

/// The fields of one schema of a document; types may contain themselves, so they are made when they are asked for.
struct Properties {
    document: Document,
    schema: Value,
}

impl Fields for Properties {
    fn field(&self, name: &str) -> Option<Type> {
        let properties = self.schema["properties"].as_object()?;
        let (_, found) = properties.iter().find(|(own, _)| field_name(own).as_deref() == Some(name))?;
        Some(self.document.ty(found))
    }
}

/// Whether a marker (an object, or a list of them) names a kind.
fn names(marker: &Value, kind: &str) -> bool {
    marker["kind"] == kind || marker.as_array().is_some_and(|all| all.iter().any(|one| one["kind"] == kind))
}

impl Document {
    pub(super) fn new(document: Value) -> Self {
        Document(Arc::new(document))
    }

    /// The kind of a resource.
    pub(super) fn kind_of(&self, plural: &str) -> Option<String> {
        let paths = self.0["paths"].as_object()?;
        let ending = format!("/{plural}");
        let mut operations =
            paths.iter().filter(|(path, _)| path.ends_with(&ending)).flat_map(|(_, item)| item.as_object());
        operations.find_map(|item| {
            item.values().find_map(|op| op["x-kubernetes-group-version-kind"]["kind"].as_str().map(str::to_owned))
        })
    }

    /// The type of a kind's objects.
    pub(super) fn type_of(&self, kind: &str) -> Option<Type> {
        let schemas = self.0["components"]["schemas"].as_object()?;
        let (_, schema) = schemas.iter().find(|(_, s)| names(&s["x-kubernetes-group-version-kind"], kind))?;
        Some(self.object(kind, schema))
    }

    fn object(&self, name: &str, schema: &Value) -> Type {
        let properties = Properties { document: self.clone(), schema: schema.clone() };
        Type::Object(ObjectType::new(name, properties))
    }

    /// A schema behind its references, and the name of the last one.
    fn resolve<'v>(&'v self, schema: &'v Value) -> (&'v str, &'v Value) {
        let reference = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
        match reference.and_then(|r| r.strip_prefix("#/components/schemas/")) {
            Some(name) => (name, &self.0["components"]["schemas"][name]),
            None => ("object", schema),
        }
    }

    fn ty(&self, schema: &Value) -> Type {
        let (name, schema) = self.resolve(schema);
        match schema["type"].as_str().unwrap_or_default() {
            _ if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" => Type::Dyn,
            "array" => Type::list(self.ty(&schema["items"])),
            "object" if schema["additionalProperties"].is_object() => {
                Type::map(Type::String, self.ty(&schema["additionalProperties"]))
            }
            "object" => self.object(name, schema),
            "string" => match schema["format"].as_str() {
                Some("byte") => Type::Bytes,
                Some("date-time" | "date") => Type::Timestamp,
                Some("duration") => Type::Duration,
                _ => Type::String,
            },
            "boolean" => Type::Bool,
            "number" => Type::Double,
            "integer" => Type::Int,
            _ => Type::Dyn,
        }
    }
}
