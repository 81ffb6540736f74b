//! Laying a configuration over an object without owners: what policies that mutate do.

use api_types::Path;
use api_types::schema::{ListKind, Type};
use serde_json::Value;

use super::typed;

/// The object with the configuration merged into it.
///
/// # Errors
/// What does not fit the schema, and parts that have no parts: they can't be changed without saying what becomes of
/// the rest.
pub fn overlay(object: &Value, configuration: &Value, schema: &Type) -> Result<Value, String> {
    let errors = typed::check(configuration, schema);
    if let Some(error) = errors.first() {
        return Err(format!("invalid ApplyConfiguration: {error}"));
    }
    let mut found = Vec::new();
    atomic(configuration, schema, &Path::default(), &mut found);
    if !found.is_empty() {
        let paths = found.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }
    Ok(typed::merge(object, configuration, schema))
}

/// The places of a configuration that are atomic.
fn atomic(value: &Value, schema: &Type, at: &Path, found: &mut Vec<String>) {
    let mut refuse = || found.push(format!(".{}", at.as_str()));
    match (value, schema) {
        (Value::Array(items), Type::List(list)) => match list.kind {
            ListKind::Atomic => refuse(),
            _ => items.iter().enumerate().for_each(|(i, item)| atomic(item, &list.item, &at.index(i), found)),
        },
        (Value::Object(fields), Type::Map(map)) => {
            if map.atomic {
                return refuse();
            }
            fields.iter().for_each(|(name, entry)| atomic(entry, &map.value, &at.child(name), found));
        }
        (Value::Object(fields), Type::Struct(of)) => {
            if of.atomic {
                return refuse();
            }
            for (name, entry) in fields {
                if let Some(field) = of.field(name) {
                    atomic(entry, &field.ty, &at.child(name), found);
                }
            }
        }
        _ => {}
    }
}
