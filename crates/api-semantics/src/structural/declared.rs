//! A structural schema as expressions see it: types, the sizes that bound their costs, and values.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube_cel::{Key, List, ListKind, ObjectType, Sizes, Type, Value as Cel};
use serde_json::Value;

use crate::cel::field_name;

/// The largest request, in bytes.
const MAX_REQUEST: u64 = 3 * 1024 * 1024;

/// What is known of a node of a schema.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub(crate) ty: Type,
    /// The fewest bytes that a value takes in a request.
    min_bytes: u64,
    /// The most characters, items or entries; 0 for what has no size.
    pub(crate) largest: u64,
    /// By the names that expressions use.
    pub(crate) fields: BTreeMap<String, Declared>,
    pub(crate) item: Option<Box<Declared>>,
}

impl Declared {
    fn simple(ty: Type, min_bytes: u64, largest: u64) -> Declared {
        Declared { ty, min_bytes, largest, fields: BTreeMap::new(), item: None }
    }
}

impl Sizes for Declared {
    fn largest(&self, path: &[Arc<str>]) -> Option<u64> {
        let mut at = self;
        for name in path.iter().skip(1) {
            at = match name.as_ref() {
                "@items" | "@values" => at.item.as_deref()?,
                // Keys are as long as requests allow.
                "@keys" => return Some(MAX_REQUEST - 2),
                name => at.fields.get(name)?,
            };
        }
        Some(at.largest)
    }
}

fn limit(schema: &Value, name: &str) -> Option<u64> {
    schema[name].as_i64().map(|n| u64::try_from(n).unwrap_or_default())
}

/// What a schema declares; none for what expressions can't see. `root`: the root of a resource, which has a kind and a name.
pub(crate) fn declared(schema: &Value, root: bool) -> Option<Declared> {
    if schema["x-kubernetes-int-or-string"] == true {
        let largest = limit(schema, "maxLength").map_or(MAX_REQUEST - 2, |n| n.saturating_mul(4));
        return Some(Declared::simple(Type::Dyn, 1, largest));
    }
    match schema["type"].as_str()? {
        "array" => {
            let item = nested(&schema["items"])?;
            let largest = limit(schema, "maxItems").unwrap_or((MAX_REQUEST - 2) / (item.min_bytes + 1));
            let ty = Type::list(item.ty.clone());
            Some(Declared { item: Some(Box::new(item)), ..Declared::simple(ty, 2, largest) })
        }
        "object" if schema["additionalProperties"].is_object() => {
            let item = nested(&schema["additionalProperties"])?;
            let largest = limit(schema, "maxProperties").unwrap_or((MAX_REQUEST - 2) / (item.min_bytes + 6));
            let ty = Type::map(Type::String, item.ty.clone());
            Some(Declared { item: Some(Box::new(item)), ..Declared::simple(ty, 2, largest) })
        }
        "object" => Some(object(schema, root)),
        "string" => Some(text(schema)),
        "boolean" => Some(Declared::simple(Type::Bool, 4, 0)),
        "number" => Some(Declared::simple(Type::Double, 1, 0)),
        "integer" => Some(Declared::simple(Type::Int, 1, 0)),
        _ => None,
    }
}

fn nested(schema: &Value) -> Option<Declared> {
    declared(schema, schema["x-kubernetes-embedded-resource"] == true)
}

fn object(schema: &Value, root: bool) -> Declared {
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
    let mut fields = BTreeMap::new();
    let mut min_bytes = 2;
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(field) = nested(property) else { continue };
        if required(name) && property.get("default").is_none() {
            min_bytes += name.len() as u64 + field.min_bytes + 4;
        }
        if let Some(name) = field_name(name) {
            fields.insert(name, field);
        }
    }
    if root {
        let text = || Declared::simple(Type::String, 2, MAX_REQUEST - 2);
        let metadata = [("name".to_owned(), text()), ("generateName".to_owned(), text())].into();
        fields.insert("apiVersion".to_owned(), text());
        fields.insert("kind".to_owned(), text());
        fields.insert("metadata".to_owned(), structure(metadata, 2));
    }
    structure(fields, min_bytes)
}

fn structure(fields: BTreeMap<String, Declared>, min_bytes: u64) -> Declared {
    let types: BTreeMap<String, Type> = fields.iter().map(|(name, field)| (name.clone(), field.ty.clone())).collect();
    Declared { fields, ..Declared::simple(Type::Object(ObjectType::new("object", types)), min_bytes, 0) }
}

fn text(schema: &Value) -> Declared {
    let max_length = limit(schema, "maxLength");
    match schema["format"].as_str().unwrap_or_default() {
        "byte" => Declared::simple(Type::Bytes, 2, max_length.unwrap_or(MAX_REQUEST - 2)),
        "duration" => Declared::simple(Type::Duration, 4, 32),
        "date" => Declared::simple(Type::Timestamp, 12, 12),
        "date-time" => Declared::simple(Type::Timestamp, 22, 32),
        _ => {
            let choices = schema["enum"].as_array().filter(|all| !all.is_empty());
            let longest = choices.map(|all| all.iter().filter_map(Value::as_str).map(|s| s.len() as u64).max());
            let largest = match (max_length, longest) {
                (Some(length), _) => length.saturating_mul(4),
                (None, Some(longest)) => longest.unwrap_or_default(),
                (None, None) => MAX_REQUEST - 2,
            };
            Declared::simple(Type::String, 2, largest)
        }
    }
}

/// A value as its schema has it: only what is declared, and under the names that expressions use.
pub(crate) fn value(json: &Value, schema: &Value, root: bool) -> Cel {
    let inner = |json: &Value, schema: &Value| value(json, schema, schema["x-kubernetes-embedded-resource"] == true);
    if schema["x-kubernetes-int-or-string"] == true {
        return Cel::from_json(json);
    }
    match (json, schema["type"].as_str().unwrap_or_default()) {
        (Value::Number(n), "number") => Cel::Double(n.as_f64().unwrap_or_default()),
        (Value::String(text), "string") => formatted(text, schema["format"].as_str().unwrap_or_default()),
        (Value::Array(items), _) => {
            let items = items.iter().map(|item| inner(item, &schema["items"])).collect();
            Cel::List(List { items: Arc::new(items), kind: list_kind(schema) })
        }
        (Value::Object(fields), _) if schema["additionalProperties"].is_object() => {
            Cel::map(fields.iter().map(|(name, field)| (name.clone(), inner(field, &schema["additionalProperties"]))))
        }
        (Value::Object(fields), _) => {
            let known = fields.iter().filter_map(|(name, field)| {
                let made = match name.as_str() {
                    "apiVersion" | "kind" if root => Cel::from_json(field),
                    "metadata" if root => metadata(field),
                    _ => inner(field, schema["properties"].get(name)?),
                };
                Some((Key::String(field_name(name)?.into()), made))
            });
            Cel::Map(Arc::new(known.collect()))
        }
        _ => Cel::from_json(json),
    }
}

fn metadata(json: &Value) -> Cel {
    let named = ["name", "generateName"].into_iter().filter_map(|n| Some((n.to_owned(), Cel::from_json(json.get(n)?))));
    Cel::map(named)
}

fn formatted(text: &str, format: &str) -> Cel {
    use base64::Engine as _;
    let made = match format {
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).ok().map(|bytes| Cel::Bytes(bytes.into())),
        "duration" => api_types::duration::parse(text).ok().map(Cel::Duration),
        "date" => format!("{text}T00:00:00Z").parse().ok().map(Cel::Timestamp),
        "date-time" => text.parse().ok().map(Cel::Timestamp),
        _ => None,
    };
    made.unwrap_or_else(|| text.into())
}

fn list_kind(schema: &Value) -> ListKind {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            ListKind::Map(keys.filter_map(|k| k.as_str().map(str::to_owned)).collect())
        }
        _ => ListKind::Atomic,
    }
}
