//! Delete.

use http::{Response, StatusCode};
use serde_json::Value;

use super::{object_namespace, write::take_body, writer};
use crate::{
    codec,
    error::{Error, Result},
    model::Resource,
    negotiate::{self, Codec},
    options::{DeleteOptions, Propagation},
    query::Query,
    registry::Deleted,
    respond,
    server::{Body, Call},
};

/// Reads the options from body or query.
pub(super) async fn options(call: &mut Call) -> Result<DeleteOptions> {
    let body = take_body(call).await?;
    let decoded = if body.is_empty() {
        None
    } else {
        let media = negotiate::content_type(call.request.headers());
        let codec = Codec::of_media_type(&media)
            .ok_or_else(|| Error::unsupported_media_type(format!("unsupported media type {media}")))?;
        Some(codec::decode_delete_options(codec, &body)?)
    };
    let options = DeleteOptions::parse(decoded.as_ref(), &call.query)?;
    if options.propagation.is_none()
        && options.orphan_dependents.is_none()
        && let Some(warning) = call.resource.stored.as_ref().and_then(|s| s.behaviour.propagation_warning())
    {
        call.warnings.add(warning);
    }
    Ok(options)
}

pub(super) async fn delete(mut call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = options(&mut call).await?;
    let resource = &call.resource;
    let writer = writer(&call, options.dry_run, "");
    let namespace = object_namespace(&call);
    let deleted = call.core.registry.delete(resource, namespace, &call.info.name, &options, &writer).await?;
    let (code, object) = answer(resource, &options, deleted);
    if object.get("kind").and_then(Value::as_str) == Some("Status") {
        let body = codec::encode_status(accepted.codec, &object);
        return Ok(respond::bytes(code, accepted.codec.content_type(), body));
    }
    respond::object(code, resource, &resource.format, &accepted, &Query::default(), &object)
}

/// The object when it stays or its kind answers so; else that it is gone.
fn answer(resource: &Resource, options: &DeleteOptions, deleted: Deleted) -> (StatusCode, Value) {
    let cascading = options.orphan_dependents == Some(false) || options.propagation == Some(Propagation::Foreground);
    let code = if !deleted.gone && cascading { StatusCode::ACCEPTED } else { StatusCode::OK };
    if deleted.gone && !resource.returns_deleted {
        return (code, respond::success(resource, &deleted.object));
    }
    (code, deleted.object)
}
