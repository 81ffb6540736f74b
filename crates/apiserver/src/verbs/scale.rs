//! The `scale` subresource: the replica count of any kind, as `autoscaling/v1.Scale`.

use std::sync::Arc;

use api_semantics::Part;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{object_namespace, patch, write, writer};
use crate::{
    codec,
    error::{Error, Result},
    meta,
    model::{Format, Resource, ScalePaths},
    options::WriteOptions,
    registry::{Change, Create, Manager, Writer},
    respond,
    server::{Body, Call},
};

pub(super) async fn serve(call: Call, paths: &ScalePaths) -> Result<Response<Body>> {
    let format = call.core.catalog.format("autoscaling", "v1", "Scale").ok_or_else(Error::no_such_path)?;
    match call.info.verb.as_str() {
        "get" => get(call, paths, &format).await,
        "update" => update(call, paths, &format).await,
        "patch" => patch_scale(call, paths, &format).await,
        _ => Err(Error::method_not_allowed()),
    }
}

async fn get(call: Call, paths: &ScalePaths, format: &Format) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let object = call.core.registry.get_value(&call.resource, object_namespace(&call), &call.info.name).await?;
    let scale = scale_of(&object, paths);
    respond::object(StatusCode::OK, &call.resource, format, &accepted, &call.query, &scale)
}

async fn update(mut call: Call, paths: &ScalePaths, format: &Arc<Format>) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let body = write::take_body(&mut call).await?;
    let headers = call.request.headers();
    let scale = write::decode_object(format, headers, &body, options.field_validation, &call.warnings)?;
    write::check_name(&scale, &call.info.name)?;
    let make = |parent: &Value| with_replicas(parent, paths, &scale, &call.resource, &call.info.name);
    let writer = writer(&call, options.dry_run, &options.field_manager);
    store(&call, paths, format, &writer, &make).await
}

async fn patch_scale(mut call: Call, paths: &ScalePaths, format: &Arc<Format>) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let body = write::take_body(&mut call).await?;
    let kind = patch::PatchKind::of(call.request.headers())?;
    patch::check_options(kind, &call, &options)?;
    let mut writer = writer(&call, options.dry_run, &options.field_manager);
    writer.applied = kind == patch::PatchKind::Apply;
    let (resource, name) = (&call.resource, &call.info.name);
    let make = |parent: &Value| {
        if kind == patch::PatchKind::Apply {
            let config = applied_to_parent(format, paths, resource, parent, &body)?;
            return Manager::new(resource, &writer, Part::Main, "scale").apply(Some(parent), &config, options.force);
        }
        let scale = patch::apply_to(kind, format, &scale_of(parent, paths), &body)?;
        with_replicas(parent, paths, &scale, resource, name)
    };
    store(&call, paths, format, &writer, &make).await
}

/// What an applied scale says of the parent: it owns the replica count there, so that whoever else owns it is asked.
fn applied_to_parent(
    format: &Format,
    paths: &ScalePaths,
    resource: &Resource,
    parent: &Value,
    body: &[u8],
) -> Result<Value> {
    let scale = codec::decode_applied(format, body)?;
    let given = scale.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if given != format.api_version() {
        return Err(Error::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {given}, expected: {}",
            format.api_version()
        )));
    }
    let mut config = json!({ "metadata": { "name": meta::name(parent) } });
    resource.format.stamp(&mut config);
    if resource.namespaced {
        meta::set(&mut config, "namespace", meta::namespace(parent).into());
    }
    if let Some(replicas) = scale.pointer("/spec/replicas") {
        refuse_negative(replicas, meta::name(parent))?;
        set_path(&mut config, &paths.spec_replicas, replicas.clone());
    }
    Ok(config)
}

/// The parent with the replica count of a scale that was made from it.
fn with_replicas(parent: &Value, paths: &ScalePaths, scale: &Value, resource: &Resource, name: &str) -> Result<Value> {
    let mut parent = parent.clone();
    let version = meta::resource_version(scale);
    if !version.is_empty() && version != meta::resource_version(&parent) {
        return Err(resource.modified(name));
    }
    let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
    refuse_negative(&replicas, name)?;
    set_path(&mut parent, &paths.spec_replicas, replicas);
    Ok(parent)
}

fn refuse_negative(replicas: &Value, name: &str) -> Result<()> {
    if replicas.as_i64().is_none_or(|r| r >= 0) {
        return Ok(());
    }
    let path = api_types::Path::new("spec").child("replicas");
    let error = api_types::FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
    Err(Error::invalid("autoscaling", "Scale", name, &[error]))
}

/// Changes the parent to what `make` turns it into; answers its scale.
async fn store(
    call: &Call,
    paths: &ScalePaths,
    format: &Format,
    writer: &Writer,
    make: &(dyn Fn(&Value) -> Result<Value> + Send + Sync),
) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let (resource, name, namespace) = (&call.resource, call.info.name.as_str(), object_namespace(call));
    let make_parent: crate::registry::Make<'_> =
        Box::new(|old: Option<&Value>| make(old.ok_or_else(|| resource.not_found(name))?));
    let change = Change {
        part: Part::Main,
        subresource: "scale",
        make: make_parent,
        keeps_owners: false,
        create: Create::Never,
    };
    let outcome = call.core.registry.update(resource, namespace, name, &change, writer).await?;
    let scale = scale_of(&outcome.object, paths);
    respond::object(StatusCode::OK, resource, format, &accepted, &call.query, &scale)
}

/// The scale of an object.
fn scale_of(object: &Value, paths: &ScalePaths) -> Value {
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::get(object, field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut status = json!({ "replicas": number(&paths.status_replicas) });
    let selector = paths.selector.as_deref().and_then(|p| at(object, p)).map(selector_text);
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        status["selector"] = selector.into();
    }
    let replicas = number(&paths.spec_replicas);
    let spec = if replicas == 0 { json!({}) } else { json!({ "replicas": replicas }) };
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status })
}

/// A label selector (or a plain map of labels) in its text form.
fn selector_text(selector: &Value) -> String {
    let Some(map) = selector.as_object() else { return selector.as_str().unwrap_or_default().to_owned() };
    let structured = map.contains_key("matchLabels") || map.contains_key("matchExpressions");
    let labels = if structured { map.get("matchLabels").and_then(Value::as_object) } else { Some(map) };
    let mut terms: Vec<String> =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    let expressions = map.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    for expression in expressions.filter(|_| structured) {
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        let values = meta::strings(expression.get("values")).join(",");
        terms.push(match expression.get("operator").and_then(Value::as_str) {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    terms.join(",")
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|p| !p.is_empty()).try_fold(object, |value, field| value.get(field))
}

fn set_path(object: &mut Value, path: &str, value: Value) {
    let mut slot = object;
    let mut fields = path.split('.').filter(|p| !p.is_empty()).peekable();
    while let Some(field) = fields.next() {
        if fields.peek().is_none() {
            if let Value::Object(map) = slot {
                map.insert(field.to_owned(), value);
            }
            return;
        }
        meta::map_mut(slot, field);
        let Some(next) = slot.get_mut(field) else { return };
        slot = next;
    }
}
