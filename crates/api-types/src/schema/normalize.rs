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
    match schema {
        Type::Struct(of) if of.typed && of.form == JsonForm::Object => normalize_struct(value, of),
        Type::Struct(of) if of.typed => normalize_alternative(value, of),
        Type::List(list) => {
            if let Value::Array(items) = value {
                for item in items {
                    normalize_item(item, &list.item);
                }
            }
        }
        Type::Map(map) => {
            if let Value::Object(entries) = value {
                for entry in entries.values_mut() {
                    normalize_item(entry, &map.value);
                }
            }
        }
        Type::Struct(of) => {
            for field in &of.fields {
                if let Some(value) = value.get_mut(field.name.as_ref()).filter(|v| !v.is_null()) {
                    normalize(value, &field.ty);
                }
            }
        }
        Type::Scalar(_) | Type::Any => {}
    }
}

fn normalize_item(item: &mut Value, ty: &Type) {
    if item.is_null() {
        *item = zero(ty);
    } else {
        normalize(item, ty);
    }
}

fn normalize_alternative(value: &mut Value, of: &Struct) {
    let Some(Type::Struct(schema)) = of.fields.iter().map(|f| &f.ty).find(|t| matches!(t, Type::Struct(_))) else {
        return;
    };
    match value {
        Value::Object(_) => normalize_struct(value, schema),
        Value::Array(items) if of.form == JsonForm::SchemaOrArray => {
            for item in items {
                normalize_struct(item, schema);
            }
        }
        _ => {}
    }
}

fn normalize_struct(value: &mut Value, of: &Struct) {
    if value.is_null() {
        *value = Value::Object(Object::new());
    }
    if let Value::Object(object) = value {
        normalize_fields(object, of);
    }
}

fn normalize_fields(object: &mut Object<String, Value>, of: &Struct) {
    for field in &of.fields {
        if let (Some(_), Type::Struct(inner)) = (&field.inline, &field.ty) {
            normalize_fields(object, inner);
            continue;
        }
        match object.get_mut(field.name.as_ref()) {
            Some(value) if !value.is_null() => {
                normalize(value, &field.ty);
                if is_omitted(field, value) {
                    object.remove(field.name.as_ref());
                }
            }
            _ => match zero_of_field(field) {
                Some(zero) => {
                    object.insert(field.name.clone().into_owned(), zero);
                }
                None => {
                    object.remove(field.name.as_ref());
                }
            },
        }
    }
}

/// What an absent field prints as; `None` when it is omitted.
fn zero_of_field(field: &Field) -> Option<Value> {
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
            normalize_struct(&mut value, of);
            value
        }
        Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Any => Value::Null,
    }
}
