//! Schemas of custom resources as documents have them: what the author wrote, with the fields that every object has. Version 2 of OpenAPI
//! can't say all of it: what it can't, is left out, as upstream's `ToStructuralOpenAPIV2` does.

use serde_json::{Map, Value, json};

use super::{Version, components::Components};

/// What version 2 has no words for.
const NOT_IN_V2: [&str; 7] = ["allOf", "anyOf", "default", "not", "nullable", "oneOf", "x-kubernetes-validations"];

/// The component of a custom resource's kind.
pub(super) fn component(source: &Value, version: Version, components: &mut Components) -> Value {
    let mut schema = node(source, version, components);
    if !schema.is_object() || schema.as_object().is_some_and(Map::is_empty) {
        schema = json!({"type": "object"});
    }
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if !(version == Version::V2 && is_open) {
        add_meta(&mut schema, version, components);
    }
    schema
}

fn node(source: &Value, version: Version, components: &mut Components) -> Value {
    let Value::Object(source) = source else { return source.clone() };
    let mut out = Map::new();
    for (key, value) in source {
        let value = match key.as_str() {
            "properties" => named(value, version, components),
            "items" | "additionalProperties" => node(value, version, components),
            _ if version == Version::V2 && NOT_IN_V2.contains(&key.as_str()) => continue,
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    let on = |key: &str| source.get(key).is_some_and(|v| *v == true);
    if version == Version::V2 {
        // Clients of version 2 would take these for closed, or for a single type.
        if on("nullable") || on("x-kubernetes-preserve-unknown-fields") {
            out.remove("items");
            out.remove("properties");
        }
        if on("nullable") || on("x-kubernetes-int-or-string") {
            out.remove("type");
        }
    }
    let mut schema = Value::Object(out);
    if on("x-kubernetes-embedded-resource") && schema.get("type").is_some() {
        add_meta(&mut schema, version, components);
    }
    schema
}

fn named(properties: &Value, version: Version, components: &mut Components) -> Value {
    let all = properties.as_object().into_iter().flatten();
    Value::Object(all.map(|(name, schema)| (name.clone(), node(schema, version, components))).collect())
}

/// `apiVersion`, `kind` and `metadata`, whatever the author says of them.
fn add_meta(schema: &mut Value, version: Version, components: &mut Components) {
    let metadata = components.meta("ObjectMeta", &[]);
    let metadata = if version == Version::V3 { json!({"allOf": [metadata]}) } else { metadata };
    let Some(object) = schema.as_object_mut() else { return };
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    for name in ["apiVersion", "kind"] {
        properties[name] = json!({"type": "string"});
    }
    properties["metadata"] = metadata;
}
