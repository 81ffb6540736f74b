//! Protobuf messages into normalized values.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Map as Object, Value};

use super::MAGIC;
use super::wire::{Content, Reader};
use crate::schema::{self, Field, JsonForm, Map, Scalar, Struct, Type, normalize};
use crate::{duration, json, time};

/// Messages nested deeper are refused.
pub(super) const MAX_DEPTH: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoPrefix,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: {0}")]
    Malformed(&'static str),
    #[error("proto: wrong wire type for field {0}")]
    WireType(String),
    #[error("{0}")]
    Embedded(#[from] json::SyntaxError),
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
}

/// The storage envelope's content (`runtime.Unknown`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unknown<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
    pub content_encoding: String,
    pub content_type: String,
}

/// Takes `k8s\0` and the envelope off.
pub fn decode_envelope(bytes: &[u8]) -> Result<Unknown<'_>, DecodeError> {
    let message = bytes.strip_prefix(MAGIC).ok_or(DecodeError::NoPrefix)?;
    let mut unknown = Unknown::default();
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        let Content::Bytes(bytes) = content else {
            continue;
        };
        match number {
            1 => read_type_meta(bytes, &mut unknown)?,
            2 => unknown.raw = bytes,
            3 => unknown.content_encoding = text(bytes),
            4 => unknown.content_type = text(bytes),
            _ => {}
        }
    }
    Ok(unknown)
}

fn read_type_meta(message: &[u8], unknown: &mut Unknown<'_>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => unknown.api_version = text(bytes),
            (2, Content::Bytes(bytes)) => unknown.kind = text(bytes),
            _ => {}
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Decodes an enveloped object. `kind` and `apiVersion` come from the envelope.
pub fn decode_object(bytes: &[u8], schema: &Type) -> Result<Value, DecodeError> {
    let unknown = decode_envelope(bytes)?;
    with_type_meta(&unknown, decode_message(unknown.raw, schema)?)
}

fn with_type_meta(unknown: &Unknown<'_>, mut value: Value) -> Result<Value, DecodeError> {
    if let Value::Object(object) = &mut value {
        for (name, text) in [("apiVersion", &unknown.api_version), ("kind", &unknown.kind)] {
            if !text.is_empty() {
                object.insert(name.to_owned(), Value::String(text.clone()));
            }
        }
    }
    Ok(value)
}

/// Which fields of an object to read, by JSON name; a name without names below it stands for all of its field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection(BTreeMap<String, Projection>);

impl Projection {
    /// The fields at these dotted paths.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Projection {
        let mut root = Projection::default();
        for path in paths {
            path.split('.').fold(&mut root, |node, name| node.0.entry(name.to_owned()).or_default());
        }
        root
    }
}

/// Decodes some fields of a bare message and passes over the others. Nothing is filled in: the value is not normalized.
pub fn decode_fields(message: &[u8], of: &Struct, wanted: &Projection) -> Result<Value, DecodeError> {
    let mut object = Object::new();
    project(message, of, wanted, &mut object)?;
    Ok(Value::Object(object))
}

fn project(
    message: &[u8],
    of: &Struct,
    wanted: &Projection,
    object: &mut Object<String, Value>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        let Some(field) = of.numbered(number) else { continue };
        if let (Some(_), Type::Struct(inner)) = (&field.inline, &field.ty) {
            project(bytes_of(field, content)?, inner, wanted, object)?;
            continue;
        }
        match (wanted.0.get(field.name.as_ref()), &field.ty) {
            (None, _) => {}
            (Some(below), Type::Struct(inner)) if !below.0.is_empty() => {
                let part = decode_fields(bytes_of(field, content)?, inner, below)?;
                object.insert(field.name.clone().into_owned(), part);
            }
            (Some(_), _) => field_value(field, content, object, 0)?,
        }
    }
    Ok(())
}

/// Decodes a bare message into a normalized value.
pub fn decode_message(message: &[u8], schema: &Type) -> Result<Value, DecodeError> {
    let mut value = decode(message, schema, 0)?;
    normalize(&mut value, schema);
    Ok(value)
}

fn decode(message: &[u8], schema: &Type, depth: usize) -> Result<Value, DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::Malformed("exceeded max depth"));
    }
    match schema {
        Type::Struct(of) => {
            let mut object = Object::new();
            fields(message, of, &mut object, depth)?;
            Ok(in_json_form(object, of.form))
        }
        Type::Any => embedded(message, depth),
        Type::Scalar(scalar) => scalar_message(message, *scalar),
        Type::List(list) if list.wrapped => {
            let mut items = Vec::new();
            let mut reader = Reader::new(message);
            while let Some((number, content)) = reader.next()? {
                if let (1, Content::Bytes(bytes)) = (number, content) {
                    items.push(Value::String(text(bytes)));
                }
            }
            Ok(Value::Array(items))
        }
        Type::List(_) | Type::Map(_) => Err(DecodeError::Malformed("nested list")),
    }
}

/// `JSONSchemaPropsOr...`: the field that is set becomes the whole value.
fn in_json_form(mut object: Object<String, Value>, form: JsonForm) -> Value {
    match form {
        JsonForm::Object => Value::Object(object),
        JsonForm::SchemaOrArray => {
            object.remove("jSONSchemas").or_else(|| object.remove("schema")).unwrap_or(Value::Null)
        }
        JsonForm::SchemaOrBool => {
            object.remove("schema").or_else(|| object.remove("allows")).unwrap_or(Value::Bool(false))
        }
        JsonForm::SchemaOrStrings => {
            object.remove("property").or_else(|| object.remove("schema")).unwrap_or(Value::Null)
        }
    }
}

fn fields(message: &[u8], of: &Struct, object: &mut Object<String, Value>, depth: usize) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        let Some(field) = of.numbered(number) else {
            continue;
        };
        field_value(field, content, object, depth)?;
    }
    Ok(())
}

fn field_value(
    field: &Field,
    content: Content<'_>,
    object: &mut Object<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    match &field.ty {
        Type::Struct(inner) if field.inline.is_some() => {
            return fields(bytes_of(field, content)?, inner, object, depth + 1);
        }
        Type::List(list) if !list.wrapped => {
            let item = value(field, &list.item, content, depth)?;
            if let Value::Array(items) = object.entry(field.name.as_ref()).or_insert_with(|| Value::Array(Vec::new())) {
                items.push(item);
            }
        }
        Type::Map(map) => {
            let (key, entry) = map_entry(field, map, bytes_of(field, content)?, depth)?;
            if let Value::Object(entries) =
                object.entry(field.name.as_ref()).or_insert_with(|| Value::Object(Object::new()))
            {
                entries.insert(key, entry);
            }
        }
        ty => {
            object.insert(field.name.clone().into_owned(), value(field, ty, content, depth)?);
        }
    }
    Ok(())
}

pub(super) fn bytes_of<'a>(field: &Field, content: Content<'a>) -> Result<&'a [u8], DecodeError> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        _ => Err(DecodeError::WireType(field.name.to_string())),
    }
}

pub(super) fn value(field: &Field, ty: &Type, content: Content<'_>, depth: usize) -> Result<Value, DecodeError> {
    match (ty, content) {
        (Type::Scalar(Scalar::String), Content::Bytes(bytes)) => Ok(Value::String(text(bytes))),
        (Type::Scalar(Scalar::Bytes), Content::Bytes(bytes)) => {
            Ok(Value::String(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }
        (Type::Scalar(Scalar::Bool), Content::Varint(n)) => Ok(Value::Bool(n != 0)),
        (Type::Scalar(Scalar::Int32), Content::Varint(n)) => Ok(Value::from(n as i32)),
        (Type::Scalar(Scalar::Int64), Content::Varint(n)) => Ok(Value::from(n as i64)),
        (Type::Scalar(Scalar::Double), Content::Fixed64(n)) => Ok(json::double(f64::from_bits(n))),
        (_, Content::Bytes(message)) => decode(message, ty, depth + 1),
        _ => Err(DecodeError::WireType(field.name.to_string())),
    }
}

fn map_entry(field: &Field, map: &Map, message: &[u8], depth: usize) -> Result<(String, Value), DecodeError> {
    let mut key = String::new();
    let mut entry = schema::zero(&map.value);
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        match (number, content) {
            (1, Content::Bytes(bytes)) => key = text(bytes),
            (2, content) => entry = value(field, &map.value, content, depth)?,
            _ => {}
        }
    }
    Ok((key, entry))
}

/// The fields of a scalar that is a message in protobuf.
#[derive(Default)]
pub(super) struct ScalarMessage<'a> {
    /// Seconds, nanoseconds of a duration, or which one of an integer and a text it is.
    pub first: i64,
    /// Nanoseconds, or the integer.
    pub second: i64,
    /// A quantity.
    pub quantity: &'a [u8],
    /// The text that is no integer.
    pub text: &'a [u8],
}

impl<'a> ScalarMessage<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut read = ScalarMessage::default();
        let mut reader = Reader::new(message);
        while let Some((number, content)) = reader.next()? {
            match (number, content) {
                (1, Content::Varint(n)) => read.first = n as i64,
                (1, Content::Bytes(bytes)) => read.quantity = bytes,
                (2, Content::Varint(n)) => read.second = n as i64,
                (3, Content::Bytes(bytes)) => read.text = bytes,
                _ => {}
            }
        }
        Ok(read)
    }

    /// The time in the form of `Time` or `MicroTime`.
    pub(super) fn time(&self, scalar: Scalar) -> Result<String, DecodeError> {
        let at = jiff::Timestamp::new(self.first, self.second as i32)
            .map_err(|_| DecodeError::Malformed("time out of range"))?;
        Ok(if scalar == Scalar::Time { time::format(&at) } else { time::format_micro(&at) })
    }
}

/// Scalars that are messages in protobuf.
fn scalar_message(message: &[u8], scalar: Scalar) -> Result<Value, DecodeError> {
    let read = ScalarMessage::read(message)?;
    Ok(match scalar {
        // The beginning of the epoch is a time; no time is written as nothing.
        Scalar::Time | Scalar::MicroTime if message.is_empty() => Value::Null,
        Scalar::Time | Scalar::MicroTime => Value::String(read.time(scalar)?),
        Scalar::Duration => Value::String(duration::format(read.first)),
        Scalar::Quantity => match text(read.quantity).parse::<crate::quantity::Quantity>() {
            Ok(quantity) => Value::String(quantity.to_string()),
            Err(_) => Value::from("0"),
        },
        Scalar::IntOrString if read.first == 0 => Value::from(read.second as i32),
        Scalar::IntOrString => Value::String(text(read.text)),
        _ => return Err(DecodeError::Malformed("scalar as message")),
    })
}

/// `RawExtension` and its like: JSON text, or an enveloped object.
fn embedded(message: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(message);
    while let Some((number, content)) = reader.next()? {
        if let (1, Content::Bytes(bytes)) = (number, content) {
            raw = bytes;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    if !raw.starts_with(MAGIC) {
        return Ok(json::parse(raw)?.to_value());
    }
    let unknown = decode_envelope(raw)?;
    let (group, version) = unknown.api_version.rsplit_once('/').unwrap_or(("", &unknown.api_version));
    let schema = schema::lookup(group, version, &unknown.kind).ok_or_else(|| DecodeError::UnknownKind {
        api_version: unknown.api_version.clone(),
        kind: unknown.kind.clone(),
    })?;
    let mut value = decode(unknown.raw, &schema, depth + 1)?;
    normalize(&mut value, &schema);
    with_type_meta(&unknown, value)
}
