//! Values into protobuf as upstream's generated code writes it: fields by number; scalars that are no pointers always;
//! map entries by key.

use base64::Engine;
use serde_json::{Map as Object, Value};

use super::MAGIC;
use super::wire::{FIXED64, put_bytes, put_head, put_int, put_tag, put_varint};
use crate::schema::{self, Field, JsonForm, Scalar, Struct, Type};
use crate::{duration, json, time};

/// Encodes an object with `k8s\0` and the envelope; `kind` and `apiVersion` are taken from the value.
pub fn encode_object(value: &Value, schema: &Type, out: &mut Vec<u8>) {
    let raw = encode_message(value, schema);
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let typed = matches!(schema, Type::Struct(of) if of.fields.iter().any(|f| f.number == 0 && f.name == "kind"));
    if typed {
        encode_envelope(text("apiVersion"), text("kind"), &raw, out);
    } else {
        encode_envelope("", "", &raw, out);
    }
}

/// Puts an encoded message into the envelope.
pub fn encode_envelope(api_version: &str, kind: &str, raw: &[u8], out: &mut Vec<u8>) {
    open_envelope(api_version, kind, raw.len(), out);
    out.extend_from_slice(raw);
    close_envelope(out);
}

/// The envelope up to its message of `length` bytes.
fn open_envelope(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut type_meta, 1, api_version.as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    out.extend_from_slice(MAGIC);
    put_bytes(out, 1, &type_meta);
    put_head(out, 2, length);
}

/// What follows the message: no content encoding and no content type.
fn close_envelope(out: &mut Vec<u8>) {
    put_bytes(out, 3, b"");
    put_bytes(out, 4, b"");
}

/// What precedes an item of `length` bytes in a list.
pub fn list_item_head(length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(6);
    put_head(&mut head, 2, length);
    head
}

/// What precedes and follows the items of an enveloped list; `items` is their length with their heads.
pub fn list_ends(api_version: &str, kind: &str, metadata: &Value, items: usize) -> (Vec<u8>, Vec<u8>) {
    let list_meta = schema::message("meta/v1", "ListMeta").map_or(Type::Any, Type::Struct);
    let mut meta = Vec::new();
    put_bytes(&mut meta, 1, &encode_message(metadata, &list_meta));
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    open_envelope(api_version, kind, meta.len() + items, &mut head);
    head.extend_from_slice(&meta);
    close_envelope(&mut tail);
    (head, tail)
}

/// The frame of a protobuf watch stream: a four-byte length and a `WatchEvent` whose object is enveloped.
pub fn encode_watch_event(event_type: &str, object: &[u8], out: &mut Vec<u8>) {
    let mut extension = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut extension, 1, object);
    let mut event = Vec::with_capacity(extension.len() + event_type.len() + 16);
    put_bytes(&mut event, 1, event_type.as_bytes());
    put_bytes(&mut event, 2, &extension);
    out.extend_from_slice(&(event.len() as u32).to_be_bytes());
    out.extend_from_slice(&event);
}

/// Encodes a bare message.
pub fn encode_message(value: &Value, schema: &Type) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    content(value, schema, &mut out);
    out
}

fn content(value: &Value, schema: &Type, out: &mut Vec<u8>) {
    match schema {
        Type::Struct(of) if of.form == JsonForm::Object => {
            let empty = Object::new();
            structure(value.as_object().unwrap_or(&empty), of, out);
        }
        Type::Struct(of) => structure(&from_json_form(value, of.form), of, out),
        Type::Any => {
            if !value.is_null() {
                let mut raw = Vec::new();
                json::encode_value(value, &mut raw);
                put_bytes(out, 1, &raw);
            }
        }
        Type::List(list) if list.wrapped => {
            for item in value.as_array().into_iter().flatten() {
                put_bytes(out, 1, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        Type::Scalar(scalar) => scalar_message(value, *scalar, out),
        Type::List(_) | Type::Map(_) => {}
    }
}

/// The fields that a `JSONSchemaPropsOr...` value stands for.
fn from_json_form(value: &Value, form: JsonForm) -> Object<String, Value> {
    let mut object = Object::new();
    let name = match (form, value) {
        (_, Value::Null) => return object,
        (_, Value::Object(_)) => "schema",
        (JsonForm::SchemaOrArray, _) => "jSONSchemas",
        (JsonForm::SchemaOrStrings, _) => "property",
        _ => "allows",
    };
    if form == JsonForm::SchemaOrBool && name == "schema" {
        object.insert("allows".to_owned(), Value::Bool(true));
    }
    object.insert(name.to_owned(), value.clone());
    object
}

fn structure(object: &Object<String, Value>, of: &Struct, out: &mut Vec<u8>) {
    for field in of.by_number() {
        if let (Some(_), Type::Struct(inner)) = (&field.inline, &field.ty) {
            let mut message = Vec::new();
            structure(object, inner, &mut message);
            put_bytes(out, field.number, &message);
            continue;
        }
        let value = object.get(field.name.as_ref()).unwrap_or(&Value::Null);
        field_content(field, value, out);
    }
}

fn field_content(field: &Field, value: &Value, out: &mut Vec<u8>) {
    if field.pointer && value.is_null() {
        return;
    }
    match &field.ty {
        Type::List(list) if !list.wrapped => {
            for item in value.as_array().into_iter().flatten() {
                single(field.number, &list.item, item, out);
            }
        }
        Type::List(_) if value.is_null() => {}
        Type::Map(map) => {
            for (key, entry) in value.as_object().into_iter().flatten() {
                let mut message = Vec::new();
                put_bytes(&mut message, 1, key.as_bytes());
                single(2, &map.value, entry, &mut message);
                put_bytes(out, field.number, &message);
            }
        }
        ty => single(field.number, ty, value, out),
    }
}

/// One value under a field number. A null is the type's zero value.
fn single(number: u32, ty: &Type, value: &Value, out: &mut Vec<u8>) {
    match ty {
        Type::Scalar(Scalar::String) => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Type::Scalar(Scalar::Bytes) => {
            // Nil is left out, empty is written.
            if let Some(text) = value.as_str() {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
                put_bytes(out, number, &bytes);
            }
        }
        Type::Scalar(Scalar::Bool) => put_int(out, number, i64::from(value.as_bool().unwrap_or_default())),
        Type::Scalar(Scalar::Int32 | Scalar::Int64) => put_int(out, number, value.as_i64().unwrap_or_default()),
        Type::Scalar(Scalar::Double) => {
            put_tag(out, number, FIXED64);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        _ => {
            let mut message = Vec::new();
            content(value, ty, &mut message);
            put_tag(out, number, super::wire::BYTES);
            put_varint(out, message.len() as u64);
            out.extend_from_slice(&message);
        }
    }
}

/// Scalars that are messages in protobuf.
fn scalar_message(value: &Value, scalar: Scalar, out: &mut Vec<u8>) {
    match scalar {
        Scalar::Time | Scalar::MicroTime => {
            let parsed = value.as_str().and_then(|text| time::parse(text).ok());
            if let Some(at) = parsed {
                put_int(out, 1, at.as_second());
                let nanos = if scalar == Scalar::Time { 0 } else { at.subsec_nanosecond() / 1000 * 1000 };
                put_int(out, 2, nanos.into());
            }
        }
        Scalar::Duration => {
            let nanos = value.as_str().and_then(|text| duration::parse(text).ok()).unwrap_or_default();
            put_int(out, 1, nanos);
        }
        Scalar::Quantity => put_bytes(out, 1, value.as_str().unwrap_or("0").as_bytes()),
        Scalar::IntOrString => {
            put_int(out, 1, i64::from(value.is_string()));
            put_int(out, 2, value.as_i64().unwrap_or_default());
            put_bytes(out, 3, value.as_str().unwrap_or_default().as_bytes());
        }
        _ => {}
    }
}
