//! Patch: JSON patch, merge patch, strategic merge patch and server-side apply.

use std::sync::Arc;

use api_semantics::{
    Part,
    patch::{self as semantics, Patched},
};
use http::{HeaderMap, Response};
use serde_json::Value;

use super::{object_namespace, write, writer};
use crate::{
    codec,
    error::{Error, Result},
    meta,
    model::{Format, Resource},
    negotiate,
    options::{FieldValidation, WriteOptions},
    registry::{Change, Create, Manager, Writer},
    respond,
    server::{Body, Call},
    warnings::Warnings,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchKind {
    pub(super) fn of(headers: &HeaderMap) -> Result<PatchKind> {
        match negotiate::content_type(headers).as_str() {
            "application/json-patch+json" => Ok(PatchKind::Json),
            "application/merge-patch+json" => Ok(PatchKind::Merge),
            "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
            "application/apply-patch+yaml" => Ok(PatchKind::Apply),
            _ => Err(Error::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            )),
        }
    }
}

pub(super) async fn patch(mut call: Call, part: Part) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let kind = PatchKind::of(call.request.headers())?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    check_options(kind, &call, &options)?;
    let body = write::take_body(&mut call).await?;
    let resource = Arc::clone(&call.resource);
    let mut writer = writer(&call, options.dry_run, &options.field_manager);
    writer.applied = kind == PatchKind::Apply;
    let request = Request {
        kind,
        part,
        body: &body,
        options: &options,
        resource: &resource,
        writer: &writer,
        name: &call.info.name,
        subresource: &call.info.subresource,
    };
    let change = Change {
        part,
        subresource: &call.info.subresource,
        make: Box::new(|old| request.make(old)),
        keeps_owners: false,
        create: if kind == PatchKind::Apply { Create::Always } else { Create::Never },
    };
    let outcome =
        call.core.registry.update(&resource, object_namespace(&call), &call.info.name, &change, &writer).await?;
    respond::outcome(&resource, &accepted, &call.query, &outcome)
}

pub(super) fn check_options(kind: PatchKind, call: &Call, options: &WriteOptions) -> Result<()> {
    let mut errors = Vec::new();
    if kind == PatchKind::Apply && options.field_manager.is_empty() {
        errors.push(api_types::FieldError::required(
            &api_types::Path::new("fieldManager"),
            "is required for apply patch",
        ));
    }
    if kind != PatchKind::Apply && call.query.first("force").is_some() {
        errors.push(api_types::FieldError::forbidden(
            &api_types::Path::new("force"),
            "may not be specified for non-apply patch",
        ));
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::invalid("meta.k8s.io", "PatchOptions", "", &errors)) }
}

struct Request<'a> {
    kind: PatchKind,
    part: Part,
    body: &'a [u8],
    options: &'a WriteOptions,
    resource: &'a Resource,
    writer: &'a Writer,
    name: &'a str,
    subresource: &'a str,
}

impl Request<'_> {
    /// The patched object.
    fn make(&self, old: Option<&Value>) -> Result<Value> {
        let format = &self.resource.format;
        if self.kind == PatchKind::Apply {
            return self.apply(old);
        }
        let old = old.ok_or_else(|| self.resource.not_found(self.name))?;
        let patched = patch_value(self.kind, format, old, self.body)?;
        let mut new = check_shape(format, old, patched, self.options.field_validation, &self.writer.warnings)?;
        if meta::name(&new) != self.name && !meta::name(&new).is_empty() {
            return Err(Error::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                meta::name(&new),
                self.name
            )));
        }
        meta::set(&mut new, "name", self.name.into());
        Ok(new)
    }

    fn apply(&self, old: Option<&Value>) -> Result<Value> {
        let format = &self.resource.format;
        let applied = codec::decode_applied(format, self.body)?;
        let manager = Manager::new(self.resource, self.writer, self.part, self.subresource);
        let mut new = manager.apply(old, &applied, self.options.force)?;
        // Unknown fields are errors of the merge; what is left to be strict about is a key that is there twice.
        if self.options.field_validation != FieldValidation::Ignore
            && let Some(error) = api_types::yaml::duplicate_keys(self.body)
        {
            if self.options.field_validation == FieldValidation::Strict {
                return Err(Error::bad_request(format!("error strict decoding YAML: {error}")));
            }
            self.writer.warnings.add(error);
        }
        format.stamp(&mut new);
        format.strategy.default(&mut new);
        Ok(new)
    }
}

/// A patch (but no apply) of something that is no stored object (a scale); the result has the format's shape.
pub(super) fn apply_to(kind: PatchKind, format: &Format, present: &Value, body: &[u8]) -> Result<Value> {
    let patched = patch_value(kind, format, present, body)?;
    check_shape(format, present, patched, FieldValidation::Ignore, &Warnings::default())
}

fn patch_value(kind: PatchKind, format: &Format, old: &Value, body: &[u8]) -> Result<Patched> {
    match kind {
        PatchKind::Json => semantics::json_patch(old, body),
        PatchKind::Strategic if format.custom => Err(Error::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        PatchKind::Strategic => semantics::strategic_merge(old, body, &format.schema),
        PatchKind::Merge | PatchKind::Apply => semantics::merge_patch(old, body),
    }
}

/// Decodes the patched object again, as if it had been sent: types are checked, defaults filled in.
fn check_shape(
    format: &Format,
    old: &Value,
    patched: Patched,
    validation: FieldValidation,
    warnings: &Warnings,
) -> Result<Value> {
    let (mut value, more) = codec::decode_patched(format, old, patched.value)?;
    let mut strict = patched.strict_errors;
    strict.extend(more);
    match validation {
        FieldValidation::Strict if !strict.is_empty() => {
            return Err(Error::bad_request(format!("strict decoding error: {}", strict.join(", "))));
        }
        FieldValidation::Warn => strict.iter().for_each(|e| warnings.add(e)),
        _ => {}
    }
    format.stamp(&mut value);
    format.strategy.default(&mut value);
    Ok(value)
}
