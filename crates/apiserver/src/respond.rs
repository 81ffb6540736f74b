//! Writing answers: objects, lists and errors in the form that was negotiated.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

pub use component_base::serving::{full, text};

use crate::{
    cache::Form,
    codec,
    error::{Error, Result},
    model::{Format, Resource},
    negotiate::{self, Accepted, Codec, Transform},
    query::Query,
    registry::Outcome,
    server::Body,
    table,
};

/// Answers smaller than this are not compressed (upstream's limit).
pub(crate) const GZIP_MINIMUM: usize = 128 * 1024;

/// What the answer to this request looks like; 406 when the client takes nothing that there is.
pub fn negotiate(headers: &HeaderMap, query: &Query, transforms: bool) -> Result<Accepted> {
    let pretty = matches!(query.text("pretty"), "true" | "1");
    negotiate::accept(headers, Codec::Json, transforms, pretty).ok_or_else(|| {
        let mut error = Error::not_acceptable(
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        );
        error.details_mut();
        error
    })
}

/// A finished answer of known bytes.
pub fn bytes(code: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// The same, compressed where the client takes it and it pays.
pub fn maybe_compressed(
    headers: &HeaderMap,
    code: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Body> {
    if body.len() < GZIP_MINIMUM || !negotiate::accepts_gzip(headers) {
        return bytes(code, content_type, body);
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::new(1));
    let packed = encoder.write_all(&body).and_then(|()| encoder.finish());
    let Ok(packed) = packed else { return bytes(code, content_type, body) };
    let mut response = bytes(code, content_type, packed.into());
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// One object of `format`, transformed as was negotiated.
pub fn object(
    code: StatusCode,
    resource: &Resource,
    format: &Format,
    accepted: &Accepted,
    query: &Query,
    value: &Value,
) -> Result<Response<Body>> {
    let body = match &accepted.transform {
        Transform::None => codec::encode(format, accepted.codec, value, accepted.pretty)?,
        Transform::Table { version } => {
            let table = table::of_objects(
                resource,
                std::slice::from_ref(value),
                version,
                query,
                &table::ListMeta::of_object(value),
            )?;
            codec::encode_json_value(accepted, &table)?
        }
        Transform::Partial { version } => codec::encode_partial(accepted, &partial(value, version))?,
    };
    Ok(bytes(code, accepted.codec.content_type(), body))
}

/// The object that a write left. Plain JSON and protobuf are printed from what was stored.
pub fn outcome(resource: &Resource, accepted: &Accepted, query: &Query, outcome: &Outcome) -> Result<Response<Body>> {
    let code = if outcome.created { StatusCode::CREATED } else { StatusCode::OK };
    let plain = accepted.transform == Transform::None && !accepted.pretty;
    if let (true, Some(written), Some(stored)) = (plain, &outcome.written, &resource.stored)
        && let Some(bare) =
            stored.model.print(&written.stored, written.revision.0, Form::new(stored.version, accepted.codec))
    {
        let body = codec::frame(&resource.format, accepted.codec, bare);
        debug_assert_eq!(
            body,
            codec::encode(&resource.format, accepted.codec, &outcome.object, false)?,
            "what was stored is not what was written"
        );
        return Ok(bytes(code, accepted.codec.content_type(), body));
    }
    object(code, resource, &resource.format, accepted, query, &outcome.object)
}

/// `PartialObjectMetadata` of an object.
pub fn partial(value: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": value.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// The answer to a failed request.
pub fn error(error: &Error, headers: &HeaderMap) -> Response<Body> {
    let accepted = negotiate::accept(headers, Codec::Json, true, false);
    let codec = accepted.map_or(Codec::Json, |a| a.codec);
    let status = error.to_status();
    let body = codec::encode_status(codec, &status);
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = bytes(code, codec.content_type(), body);
    if let Some(seconds) = error.details.as_ref().map(|d| d.retry_after_seconds).filter(|s| *s > 0) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if code == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kubernetes-master\""));
    }
    response
}

/// A `Status` that tells of success.
pub fn success(resource: &Resource, object: &Value) -> Value {
    let mut details =
        json!({ "name": crate::meta::name(object), "kind": resource.plural, "uid": crate::meta::uid(object) });
    if !resource.group.is_empty() {
        details["group"] = resource.group.clone().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}
