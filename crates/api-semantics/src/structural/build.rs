//! From a structural schema to the runtime form.

use std::sync::Arc;

use api_types::schema::{Field, List, ListKind, Map, Scalar, Schema, Struct, StructRef, Type, message};
use serde_json::Value;

/// The schema of whole objects: what the CRD says, and `apiVersion`, `kind` and `metadata`.
pub(super) fn root(source: &Value, open: bool) -> Schema {
    let mut of = structure(source);
    of.open |= open;
    with_type_meta(&mut of);
    Type::Struct(StructRef::owned(of))
}

fn with_type_meta(of: &mut Struct) {
    of.fields.retain(|f| !matches!(f.name.as_ref(), "apiVersion" | "kind" | "metadata"));
    let metadata = message("meta/v1", "ObjectMeta").map_or(Type::Any, Type::Struct);
    of.fields.push(Field::new("apiVersion", Type::Scalar(Scalar::String)));
    of.fields.push(Field::new("kind", Type::Scalar(Scalar::String)));
    of.fields.push(Field::new("metadata", metadata));
}

fn flag(source: &Value, name: &str) -> bool {
    source[name] == true
}

fn node(source: &Value) -> Type {
    if flag(source, "x-kubernetes-int-or-string") {
        return Type::Scalar(Scalar::IntOrString);
    }
    match source["type"].as_str().unwrap_or_default() {
        "array" => array(source),
        "string" => Type::Scalar(Scalar::String),
        "integer" => Type::Scalar(Scalar::Int64),
        "number" => Type::Scalar(Scalar::Double),
        "boolean" => Type::Scalar(Scalar::Bool),
        _ => match &source["additionalProperties"] {
            Value::Object(_) | Value::Bool(true) => map(source),
            _ => Type::Struct(StructRef::owned(structure(source))),
        },
    }
}

fn structure(source: &Value) -> Struct {
    let properties = source["properties"].as_object();
    let fields = properties.into_iter().flatten().map(|(name, schema)| {
        let mut field = Field::new(name.clone(), node(schema));
        field.default = schema.get("default").cloned();
        field
    });
    let mut of = Struct {
        fields: fields.collect(),
        atomic: source["x-kubernetes-map-type"] == "atomic",
        open: flag(source, "x-kubernetes-preserve-unknown-fields"),
        ..Struct::default()
    };
    if flag(source, "x-kubernetes-embedded-resource") {
        with_type_meta(&mut of);
    }
    of
}

fn map(source: &Value) -> Type {
    let value = match &source["additionalProperties"] {
        Value::Object(_) => node(&source["additionalProperties"]),
        _ => Type::Struct(StructRef::owned(Struct { open: true, ..Struct::default() })),
    };
    let atomic = source["x-kubernetes-map-type"] == "atomic";
    Type::Map(Arc::new(Map { value, atomic, go_type: None, go_key: None }))
}

fn array(source: &Value) -> Type {
    let kind = match source["x-kubernetes-list-type"].as_str().unwrap_or_default() {
        "set" => ListKind::Set,
        "map" => {
            let keys = source["x-kubernetes-list-map-keys"].as_array();
            let keys = keys.into_iter().flatten().filter_map(|k| k.as_str().map(|k| k.to_owned().into()));
            ListKind::Map(keys.collect())
        }
        _ => ListKind::Atomic,
    };
    Type::List(Arc::new(List { item: node(&source["items"]), kind, wrapped: false, go_type: None }))
}
