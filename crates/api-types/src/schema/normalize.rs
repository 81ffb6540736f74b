//! Go's rules of zero values: what `encoding/json` prints for a typed object.
//!
//! A *normalized* value is exactly what upstream would print: no unknown fields, no empty `omitempty` fields, zero values
//! where a field is always printed, `null` for nil lists and unset times. Comparisons, managed fields and storage all
//! work on normalized values, so that "absent" has one form.

use serde_json::{Map as Object, Value};

use super::{Field, JsonForm, Scalar, Struct, Type};

/// Brings an object in line with Go's rules in place. Values of custom resources and free JSON stay as they are, but for
/// the built-in types in them (`metadata`).
/// Unknown fields are left alone (decoding removes them).
pub fn normalize(value: &mut Value, schema: &Type) {
    walk(value, schema, Empty::Absent);
}

/// Like [`normalize`], but lists and maps that are there and empty stay: Go tells them from absent ones as long as an
/// object was only decoded, and so do defaults and the texts of validation. Storing an object makes them absent.
pub fn normalize_as_sent(value: &mut Value, schema: &Type) {
    walk(value, schema, Empty::Kept);
}

/// Like [`normalize`], for an object that is not stored yet: a list or map that is printed even when absent stays empty
/// instead of null. Field ownership is worked out on this form.
pub fn normalize_as_printed(value: &mut Value, schema: &Type) {
    walk(value, schema, Empty::Printed);
}

/// What becomes of empty lists and maps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    Absent,
    Printed,
    Kept,
}

fn walk(value: &mut Value, schema: &Type, empty: Empty) {
    match schema {
        Type::Struct(of) if of.typed && of.form == JsonForm::Object => normalize_struct(value, of, empty),
        Type::Struct(of) if of.typed => normalize_alternative(value, of, empty),
        Type::List(list) => {
            if let Value::Array(items) = value {
                for item in items {
                    normalize_item(item, &list.item, empty);
                }
            }
        }
        Type::Map(map) => {
            if let Value::Object(entries) = value {
                for entry in entries.values_mut() {
                    match &map.value {
                        // Absent bytes have no form in a stored map.
                        Type::Scalar(Scalar::Bytes) if entry.is_null() && empty != Empty::Kept => {
                            *entry = Value::String(String::new());
                        }
                        of => normalize_item(entry, of, empty),
                    }
                }
            }
        }
        Type::Struct(of) => {
            for field in &of.fields {
                if let Some(value) = value.get_mut(field.name.as_ref()).filter(|v| !v.is_null()) {
                    walk(value, &field.ty, empty);
                }
            }
        }
        Type::Scalar(_) | Type::Any => {}
    }
}

fn normalize_item(item: &mut Value, ty: &Type, empty: Empty) {
    if item.is_null() {
        *item = zero(ty);
    } else {
        walk(item, ty, empty);
    }
}

fn normalize_alternative(value: &mut Value, of: &Struct, empty: Empty) {
    let Some(Type::Struct(schema)) = of.fields.iter().map(|f| &f.ty).find(|t| matches!(t, Type::Struct(_))) else {
        return;
    };
    match value {
        Value::Object(_) => normalize_struct(value, schema, empty),
        Value::Array(items) if of.form == JsonForm::SchemaOrArray => {
            for item in items {
                normalize_struct(item, schema, empty);
            }
        }
        _ => {}
    }
}

fn normalize_struct(value: &mut Value, of: &Struct, empty: Empty) {
    if value.is_null() {
        *value = Value::Object(Object::new());
    }
    if let Value::Object(object) = value {
        normalize_fields(object, of, empty);
    }
}

fn normalize_fields(object: &mut Object<String, Value>, of: &Struct, empty: Empty) {
    object.retain(|name, value| match of.field(name) {
        Some(field) if !value.is_null() => normalize_field(field, value, empty),
        // Printed though it is absent, or not there: what is printed comes back below.
        Some(_) => false,
        None => true,
    });
    for (at, zero) in of.printed() {
        let name = of.flat()[at].name.as_ref();
        if !object.contains_key(name) {
            object.insert(name.to_owned(), zero.clone());
        }
    }
}

/// Whether the field stays.
fn normalize_field(field: &Field, value: &mut Value, empty: Empty) -> bool {
    walk(value, &field.ty, empty);
    if !is_empty_container(field, value) {
        return !is_omitted(field, value);
    }
    match empty {
        Empty::Kept => {}
        Empty::Absent | Empty::Printed if field.omit_empty => return false,
        Empty::Absent => *value = Value::Null,
        Empty::Printed => {}
    }
    true
}

/// Whether the field is a list or a map without entries.
fn is_empty_container(field: &Field, value: &Value) -> bool {
    !field.pointer && matches!(field.ty, Type::List(_) | Type::Map(_)) && is_empty(value)
}

/// What an absent field prints as; `None` when it is omitted.
pub(super) fn zero_of_field(field: &Field) -> Option<Value> {
    if field.pointer {
        return (!field.omit_empty).then_some(Value::Null);
    }
    let zero = zero(&field.ty);
    (!is_omitted(field, &zero)).then_some(zero)
}

/// Whether `omitempty` (or `omitzero`) leaves the field out when it holds this normalized value.
pub fn is_omitted(field: &Field, value: &Value) -> bool {
    if !field.omit_empty {
        return false;
    }
    if field.pointer {
        return value.is_null();
    }
    match &field.ty {
        // Structs in Go: omitempty never applies to them.
        Type::Struct(_) | Type::Any | Type::Scalar(Scalar::Quantity | Scalar::IntOrString | Scalar::Duration) => false,
        Type::Scalar(Scalar::Time | Scalar::MicroTime) => field.omit_zero && value.is_null(),
        _ => is_empty(value),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// The zero value of a type as JSON shows it.
pub fn zero(ty: &Type) -> Value {
    match ty {
        Type::Scalar(scalar) => match scalar {
            Scalar::String => Value::String(String::new()),
            Scalar::Bool => Value::Bool(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => Value::from(0),
            Scalar::Duration => Value::from("0s"),
            Scalar::Quantity => Value::from("0"),
            Scalar::Bytes | Scalar::Time | Scalar::MicroTime => Value::Null,
        },
        Type::Struct(of) if of.typed && of.form == JsonForm::Object => {
            let mut value = Value::Object(Object::new());
            normalize_struct(&mut value, of, Empty::Absent);
            value
        }
        Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Any => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::lookup;

    #[test]
    fn empty_lists_and_maps() {
        let schema = lookup("rbac.authorization.k8s.io", "v1", "ClusterRole").expect("kind");
        let sent = json!({"metadata": {"name": "r", "labels": {}}, "rules": []});
        let shown = |normalize: fn(&mut Value, &Type)| {
            let mut value = sent.clone();
            normalize(&mut value, &schema);
            (value["metadata"].get("labels").cloned(), value["rules"].clone())
        };
        assert_eq!(shown(normalize), (None, Value::Null));
        assert_eq!(shown(normalize_as_printed), (None, json!([])));
        assert_eq!(shown(normalize_as_sent), (Some(json!({})), json!([])));
    }

    #[test]
    fn absent_bytes_of_a_map_are_stored_as_empty() {
        let mut secret = json!({"data": {"a": null}});
        normalize(&mut secret, &lookup("", "v1", "Secret").expect("kind"));
        assert_eq!(secret["data"], json!({"a": ""}));
    }
}
