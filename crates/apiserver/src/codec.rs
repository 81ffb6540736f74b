//! Objects from and to bytes, over the schema: the one place that knows which codec needs what around it.

use std::sync::Arc;

use api_types::{
    json, protobuf,
    schema::{self, Schema},
    yaml,
};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    model::Format,
    negotiate::{Accepted, Codec},
    table::ListMeta,
};

/// Reads bytes of the store: an envelope (built-in kinds) or JSON (custom ones, and old built-in data). Answers the value
/// and the index of the format it is in.
pub fn decode_stored(stored: &[u8], formats: &[Arc<Format>], default: usize) -> Result<(Value, usize)> {
    let corrupt = |e: &dyn std::fmt::Display| Error::internal(format!("stored object can't be read: {e}"));
    let index_of = |api_version: &str, kind: &str| {
        formats.iter().position(|f| f.kind == kind && f.api_version() == api_version).unwrap_or(default)
    };
    if stored.starts_with(protobuf::MAGIC) {
        let unknown = protobuf::decode_envelope(stored).map_err(|e| corrupt(&e))?;
        let index = index_of(&unknown.api_version, &unknown.kind);
        let value = protobuf::decode_object(stored, &formats[index].schema).map_err(|e| corrupt(&e))?;
        return Ok((value, index));
    }
    let doc = json::parse(stored).map_err(|e| corrupt(&e))?;
    let text = |name: &str| doc.get(name).and_then(json::Doc::as_str).unwrap_or_default().to_owned();
    let index = index_of(&text("apiVersion"), &text("kind"));
    let decoded = json::decode_doc(&doc, &formats[index].schema).map_err(|e| corrupt(&e))?;
    Ok((decoded.value, index))
}

/// Some fields of stored bytes; `None` where they are not an envelope of this format, and all of it has to be read.
pub fn decode_stored_fields(stored: &[u8], format: &Format, wanted: &protobuf::Projection) -> Result<Option<Value>> {
    let Schema::Struct(of) = &format.schema else { return Ok(None) };
    if !stored.starts_with(protobuf::MAGIC) {
        return Ok(None);
    }
    let corrupt = |e: protobuf::DecodeError| Error::internal(format!("stored object can't be read: {e}"));
    let unknown = protobuf::decode_envelope(stored).map_err(corrupt)?;
    if unknown.kind != format.kind || unknown.api_version != format.api_version() {
        return Ok(None);
    }
    protobuf::decode_fields(unknown.raw, of, wanted).map(Some).map_err(corrupt)
}

/// Bare bytes of an object in a codec from its canonical stored bytes in the same format (see [`protobuf::print_object`]); `None` where they
/// have to be decoded for it.
pub fn print_stored(format: &Format, codec: Codec, stored: &[u8], revision: u64) -> Option<Bytes> {
    let Schema::Struct(of) = &format.schema else { return None };
    if format.custom || !of.is_whole_in_protobuf() || !stored.starts_with(protobuf::MAGIC) {
        return None;
    }
    let unknown = protobuf::decode_envelope(stored).ok()?;
    let resource_version = revision.to_string();
    let identity = protobuf::Identity {
        api_version: &unknown.api_version,
        kind: &unknown.kind,
        resource_version: &resource_version,
    };
    match codec {
        Codec::Json => {
            let mut out = Vec::with_capacity(2 * stored.len());
            protobuf::print_object(unknown.raw, of, identity, &mut out).ok()?;
            Some(exactly(&out))
        }
        Codec::Protobuf => {
            protobuf::with_resource_version(unknown.raw, of, &resource_version).ok().map(|out| exactly(&out))
        }
        Codec::Yaml => None,
    }
}

/// The bytes to store.
pub fn encode_stored(format: &Format, value: &Value) -> Result<Bytes> {
    if format.custom {
        return encode_bare(format, Codec::Json, value);
    }
    let mut out = Vec::with_capacity(1024);
    protobuf::encode_object(value, &format.schema, &mut out);
    Ok(exactly(&out))
}

/// Bytes that are kept for long, without the room that the buffer had left: allocators shrink a block by leaving it where it is.
fn exactly(buffer: &[u8]) -> Bytes {
    Bytes::copy_from_slice(buffer)
}

/// Reads a request body; answers the value and what a strict reader would refuse.
pub fn decode(format: &Format, codec: Codec, body: &[u8]) -> Result<(Value, Vec<String>)> {
    match codec {
        Codec::Protobuf => decode_protobuf(format, body).map(|v| (v, Vec::new())),
        Codec::Json => {
            let doc = json::parse(body).map_err(|e| unrecognized(format, &e.0, body))?;
            decode_doc(format, &doc, body)
        }
        Codec::Yaml => {
            let doc = yaml::parse(body).map_err(|e| unrecognized(format, &e.0, body))?;
            decode_doc(format, &doc, body)
        }
    }
}

fn unrecognized(format: &Format, why: &str, body: &[u8]) -> Error {
    let hex: String = body.iter().take(1024).map(|b| format!("{b:02x}")).collect();
    Error::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why} ({hex})",
        format.kind
    ))
}

fn decode_doc(format: &Format, doc: &json::Doc<'_>, body: &[u8]) -> Result<(Value, Vec<String>)> {
    if !matches!(doc, json::Doc::Object(_)) {
        let go_type = match doc {
            json::Doc::Array(_) => "array",
            json::Doc::String(_) => "string",
            json::Doc::Bool(_) => "bool",
            _ => "number",
        };
        let why = format!(
            r#"json: cannot unmarshal {go_type} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }}"#
        );
        return Err(unrecognized(format, &why, body));
    }
    check_type(format, doc)?;
    let decoded =
        json::decode_as_sent(doc, &format.schema).map_err(|e| cannot_be_handled(format, &format.version, &e))?;
    Ok((decoded.value, decoded.strict_errors))
}

fn cannot_be_handled(format: &Format, version: &str, why: &dyn std::fmt::Display) -> Error {
    Error::bad_request(format!(
        "{} in version \"{version}\" cannot be handled as a {}: {why}",
        format.kind, format.kind
    ))
}

/// A body may leave out kind and version; what it names must be what the path names.
fn check_type(format: &Format, doc: &json::Doc<'_>) -> Result<()> {
    let text = |name: &str| doc.get(name).and_then(json::Doc::as_str).unwrap_or_default();
    check_type_meta(format, text("apiVersion"), text("kind"))
}

fn check_type_meta(format: &Format, api_version: &str, kind: &str) -> Result<()> {
    let wanted = format.api_version();
    let kind = if kind.is_empty() { format.kind.as_str() } else { kind };
    let api_version = if api_version.is_empty() { wanted.as_str() } else { api_version };
    if kind == format.kind && api_version == wanted {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if schema::lookup(group, version, kind).is_none() {
        return Err(Error::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
            format.kind
        )));
    }
    if kind == format.kind {
        return Err(Error::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({wanted})"
        )));
    }
    let from = api_types::schema::package_of_group(group);
    let from = if group.is_empty() { version.to_owned() } else { format!("{from}.{version}") };
    let internal = api_types::schema::package_of_group(&format.group);
    let from = from.rsplit('.').next().unwrap_or_default().to_owned();
    Err(Error::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {}: converting ({from}.{kind}) to ({internal}.{}): unknown conversion",
        format.kind, format.kind
    )))
}

fn decode_protobuf(format: &Format, body: &[u8]) -> Result<Value> {
    if format.custom {
        return Err(Error::unsupported_media_type("custom resources have no protobuf form"));
    }
    let bad = |e: &dyn std::fmt::Display| cannot_be_handled(format, &format.version, e);
    let unknown = protobuf::decode_envelope(body).map_err(|e| bad(&e))?;
    check_type_meta(format, &unknown.api_version, &unknown.kind)?;
    protobuf::decode_object(body, &format.schema).map_err(|e| bad(&e))
}

/// Checks a value that was patched together against the schema, as if it had been decoded. What is as in `old`, which was decoded once, is
/// not looked at again.
pub fn decode_patched(format: &Format, old: &Value, mut patched: Value) -> Result<(Value, Vec<String>)> {
    let text = |name: &str| patched.get(name).and_then(Value::as_str).unwrap_or_default();
    check_type_meta(format, text("apiVersion"), text("kind"))?;
    let mut unchanged = serde_json::Map::new();
    if let Value::Object(members) = &mut patched {
        let same = |name: &str, value: &Value| value.is_object() && old.get(name) == Some(value);
        for name in
            members.iter().filter(|(name, value)| same(name, value)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        {
            unchanged.extend(members.remove_entry(&name));
        }
    }
    let decoded = json::decode_as_sent(&json::Doc::from(&patched), &format.schema)
        .map_err(|e| cannot_be_handled(format, &format.version, &e))?;
    let mut value = decoded.value;
    if let Value::Object(members) = &mut value {
        members.extend(unchanged);
    }
    Ok((value, decoded.strict_errors))
}

/// The configuration of an apply request as the client wrote it (YAML or JSON): types are checked, nothing is filled in.
pub fn decode_applied(format: &Format, body: &[u8]) -> Result<Value> {
    let doc = yaml::parse(body).map_err(|e| Error::bad_request(format!("error decoding YAML: {}", e.0)))?;
    check_type(format, &doc)?;
    // Wrong types are no error yet: they come to light when the merged object is decoded, after conflicts.
    Ok(doc.to_value())
}

/// `DeleteOptions`, in whichever group's version the client names them.
pub fn decode_delete_options(codec: Codec, body: &[u8]) -> Result<Value> {
    let schema = meta_schema("DeleteOptions")?;
    let bad = |e: &dyn std::fmt::Display| Error::bad_request(format!("couldn't decode DeleteOptions: {e}"));
    match codec {
        Codec::Json => json::decode(body, &schema).map(|d| d.value).map_err(|e| bad(&e)),
        Codec::Yaml => yaml::decode(body, &schema).map(|d| d.value).map_err(|e| bad(&e)),
        Codec::Protobuf => protobuf::decode_object(body, &schema).map_err(|e| bad(&e)),
    }
}

fn meta_schema(kind: &str) -> Result<Schema> {
    schema::message("meta/v1", kind)
        .map(Schema::Struct)
        .ok_or_else(|| Error::internal(format!("the schema table lacks {kind}")))
}

/// The object's bytes without what a codec puts around a whole answer: JSON without the final newline, protobuf without the
/// envelope. These are what lists and caches hold.
pub fn encode_bare(format: &Format, codec: Codec, value: &Value) -> Result<Bytes> {
    let mut out = Vec::with_capacity(1024);
    match codec {
        Codec::Json if format.custom => json::encode_value(value, &mut out),
        Codec::Json => json::encode(value, &format.schema, &mut out),
        Codec::Yaml => yaml::encode(value, &mut out),
        Codec::Protobuf if format.custom => {
            return Err(Error::not_acceptable("custom resources have no protobuf form"));
        }
        Codec::Protobuf => out = protobuf::encode_message(value, &format.schema),
    }
    Ok(exactly(&out))
}

/// Bare bytes as a whole answer.
pub fn frame(format: &Format, codec: Codec, bare: Bytes) -> Bytes {
    match codec {
        Codec::Json | Codec::Yaml => bare,
        Codec::Protobuf => {
            let mut out = Vec::with_capacity(bare.len() + 64);
            protobuf::encode_envelope(&format.api_version(), &format.kind, &bare, &mut out);
            out.into()
        }
    }
}

/// A whole answer of one object.
pub fn encode(format: &Format, codec: Codec, value: &Value, pretty: bool) -> Result<Bytes> {
    let bare = frame(format, codec, encode_bare(format, codec, value)?);
    Ok(if pretty && codec == Codec::Json { indent(&bare) } else { bare })
}

fn indent(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() * 2);
    json::pretty(text, &mut out);
    out.into()
}

/// What the JSON of an object of this format starts with, up to the first field after kind and version.
pub fn json_type_prefix(format: &Format) -> String {
    format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", format.kind, format.api_version())
}

/// JSON text in the JSON or YAML form that was negotiated.
pub fn reencode_json(accepted: &Accepted, text: &[u8]) -> Result<Bytes> {
    match accepted.codec {
        Codec::Yaml => {
            let value: Value = serde_json::from_slice(text).map_err(Error::internal)?;
            let mut out = Vec::with_capacity(text.len());
            yaml::encode(&value, &mut out);
            Ok(out.into())
        }
        _ if accepted.pretty => Ok(indent(text)),
        _ => Ok(Bytes::copy_from_slice(text)),
    }
}

/// A value that only exists in JSON (tables, discovery) as JSON or YAML.
pub fn encode_json_value(accepted: &Accepted, value: &Value) -> Result<Bytes> {
    if accepted.codec == Codec::Protobuf {
        return Err(Error::not_acceptable("this representation has no protobuf form"));
    }
    let mut out = Vec::with_capacity(1024);
    json::encode_value(value, &mut out);
    reencode_json(accepted, &out)
}

/// A value of a `meta.k8s.io/v1` type.
fn encode_meta(accepted: &Accepted, kind: &str, value: &Value) -> Result<Bytes> {
    let schema = meta_schema(kind)?;
    let mut out = Vec::with_capacity(512);
    match accepted.codec {
        Codec::Protobuf => protobuf::encode_object(value, &schema, &mut out),
        Codec::Yaml => yaml::encode(value, &mut out),
        Codec::Json if accepted.pretty => json::encode_pretty(value, &schema, &mut out),
        Codec::Json => json::encode(value, &schema, &mut out),
    }
    Ok(out.into())
}

pub fn encode_partial(accepted: &Accepted, value: &Value) -> Result<Bytes> {
    encode_meta(accepted, "PartialObjectMetadata", value)
}

pub fn encode_partial_list(accepted: &Accepted, version: &str, meta: &ListMeta, items: Vec<Value>) -> Result<Bytes> {
    let list = serde_json::json!({
        "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta.to_value(), "items": items,
    });
    encode_meta(accepted, "PartialObjectMetadataList", &list)
}

/// A `Status`.
pub fn encode_status(codec: Codec, status: &Value) -> Bytes {
    let accepted = Accepted { codec, transform: crate::negotiate::Transform::None, pretty: false };
    encode_meta(&accepted, "Status", status).unwrap_or_else(|_| Bytes::from(status.to_string()))
}

/// An object of which only metadata is there (a bookmark).
pub fn encode_minimal(format: &Format, codec: Codec, value: &Value) -> Result<Bytes> {
    let codec = if codec == Codec::Yaml { Codec::Json } else { codec };
    encode(format, codec, value, false)
}

/// One watch event in the stream's framing.
pub fn watch_frame(codec: Codec, kind: &str, object: &[u8], out: &mut BytesMut) {
    match codec {
        Codec::Protobuf => {
            let mut frame = Vec::with_capacity(object.len() + 32);
            protobuf::encode_watch_event(kind, object, &mut frame);
            out.put_slice(&frame);
        }
        Codec::Json | Codec::Yaml => {
            out.reserve(object.len() + 32);
            out.put_slice(b"{\"type\":\"");
            out.put_slice(kind.as_bytes());
            out.put_slice(b"\",\"object\":");
            out.put_slice(object.trim_ascii_end());
            out.put_slice(b"}\n");
        }
    }
}
