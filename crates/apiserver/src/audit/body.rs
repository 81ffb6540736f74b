//! Bodies as events show them: JSON, whatever was sent. Pure.

use std::io::Read;

use api_types::{json, protobuf, schema, yaml};
use flate2::read::GzDecoder;
use http::{HeaderMap, header};
use serde_json::Value;

use crate::{meta, negotiate};

/// A packed body is not unpacked beyond this.
const MAX_UNPACKED: u64 = 64 << 20;

/// The body as JSON; `None` if it is nothing that an event can show.
pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    let packed = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let unpacked = packed.then(|| unpack(body));
    let body = match &unpacked {
        Some(unpacked) => unpacked.as_deref()?,
        None => body,
    };
    if body.starts_with(protobuf::MAGIC) {
        return of_protobuf(body);
    }
    match negotiate::content_type(headers) {
        kind if kind.contains("yaml") => yaml::parse(body).ok().map(|doc| doc.to_value()),
        kind if kind.contains("json") || kind.is_empty() => json::parse(body).ok().map(|doc| doc.to_value()),
        _ => None,
    }
}

fn unpack(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(body).take(MAX_UNPACKED).read_to_end(&mut out).ok()?;
    Some(out)
}

fn of_protobuf(body: &[u8]) -> Option<Value> {
    let unknown = protobuf::decode_envelope(body).ok()?;
    let (group, version) = unknown.api_version.split_once('/').unwrap_or(("", &unknown.api_version));
    let of_meta = || schema::message("meta/v1", &unknown.kind).map(schema::Schema::Struct);
    let schema = schema::lookup(group, version, &unknown.kind).or_else(of_meta)?;
    let mut value = protobuf::decode_object(body, &schema).ok()?;
    value["apiVersion"] = unknown.api_version.into();
    value["kind"] = unknown.kind.into();
    Some(value)
}

/// Takes the managed fields off an object, or off the objects of a list or table.
pub(super) fn omit_managed_fields(value: &mut Value) {
    if value["metadata"].is_object() {
        meta::set(value, "managedFields", Value::Null);
    }
    for (list, inner) in [("items", ""), ("rows", "/object")] {
        let items = value.get_mut(list).and_then(Value::as_array_mut);
        items.into_iter().flatten().filter_map(|item| item.pointer_mut(inner)).for_each(omit_managed_fields);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_shown_as_json_whatever_they_are() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "1"}});
        let schema = schema::lookup("", "v1", "ConfigMap").expect("a schema");
        let mut binary = Vec::new();
        protobuf::encode_object(&object, &schema, &mut binary);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(object.to_string().as_bytes()).expect("is packed");
        let packed = packed.finish().expect("is packed");
        let text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {x: '1'}\n";
        for (kind, encoding, body) in [
            ("application/json", "", object.to_string().into_bytes()),
            ("application/apply-patch+yaml", "", text.as_bytes().to_vec()),
            ("application/vnd.kubernetes.protobuf", "", binary),
            ("application/json", "gzip", packed),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            headers.insert("content-encoding", HeaderValue::from_static(encoding));
            assert_eq!(read(&headers, &body), Some(object.clone()), "{kind} {encoding}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers, b""), None);
        headers.insert("content-type", HeaderValue::from_static("text/plain"));
        assert_eq!(read(&headers, b"{}"), None);
    }

    #[test]
    fn managed_fields_are_taken_off_everywhere() {
        let object = || json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let bare = json!({"metadata": {"name": "a"}});
        for (mut value, expected) in [
            (object(), bare.clone()),
            (json!({"metadata": {}, "items": [object()]}), json!({"metadata": {}, "items": [bare]})),
            (json!({"rows": [{"object": object()}]}), json!({"rows": [{"object": bare}]})),
        ] {
            omit_managed_fields(&mut value);
            assert_eq!(value, expected);
        }
    }
}
