//! Create and update: bodies in, objects out.

use api_semantics::Part;
use http::Response;
use serde_json::Value;

use super::{object_namespace, writer};
use crate::{
    codec,
    error::{Error, Result},
    meta,
    model::Format,
    negotiate::{self, Codec},
    options::{FieldValidation, WriteOptions},
    registry::{Change, Create},
    respond,
    server::{Body, Call, RequestBody, read_body},
    warnings::Warnings,
};

/// Takes the body out of a call.
pub(super) async fn take_body(call: &mut Call) -> Result<bytes::Bytes> {
    let body = std::mem::replace(call.request.body_mut(), RequestBody::empty());
    read_body(body).await
}

/// Reads an object of `format` from a body, fills in its defaults, and judges unknown fields as the client asked.
pub fn decode_object(
    format: &Format,
    headers: &http::HeaderMap,
    body: &[u8],
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value> {
    let media = negotiate::content_type(headers);
    let codec = Codec::of_media_type(&media).ok_or_else(|| {
        Error::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })?;
    let (mut value, strict) = codec::decode(format, codec, body)?;
    judge_strict_errors(format, &strict, validation, warnings)?;
    format.stamp(&mut value);
    format.strategy.default(&mut value);
    Ok(value)
}

fn judge_strict_errors(
    format: &Format,
    errors: &[String],
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<()> {
    match validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            errors.iter().for_each(|e| warnings.add(e));
            Ok(())
        }
        FieldValidation::Strict if errors.is_empty() => Ok(()),
        FieldValidation::Strict => Err(Error::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            format.kind,
            format.version,
            format.kind,
            errors.join(", ")
        ))),
    }
}

pub(super) async fn create(mut call: Call) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let body = take_body(&mut call).await?;
    let resource = &call.resource;
    let headers = call.request.headers();
    let object = decode_object(&resource.format, headers, &body, options.field_validation, &call.warnings)?;
    let writer = writer(&call, options.dry_run, &options.field_manager);
    let created = call.core.registry.create(resource, object_namespace(&call), object, &writer).await?;
    respond::outcome(resource, &accepted, &call.query, &created)
}

pub(super) async fn update(mut call: Call, part: Part) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let body = take_body(&mut call).await?;
    let resource = &call.resource;
    let headers = call.request.headers();
    let object = decode_object(&resource.format, headers, &body, options.field_validation, &call.warnings)?;
    let name = &call.info.name;
    check_name(&object, name)?;
    let writer = writer(&call, options.dry_run, &options.field_manager);
    let change = Change {
        part,
        subresource: &call.info.subresource,
        make: Box::new(|_| Ok(object.clone())),
        keeps_owners: false,
        create: Create::IfKindAllows,
    };
    let outcome = call.core.registry.update(resource, object_namespace(&call), name, &change, &writer).await?;
    respond::outcome(resource, &accepted, &call.query, &outcome)
}

/// The object's name is the URL's.
pub(super) fn check_name(object: &Value, name: &str) -> Result<()> {
    let given = meta::name(object);
    if given.is_empty() {
        return Err(Error::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(Error::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}
