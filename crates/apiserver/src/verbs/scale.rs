//! The `scale` subresource: the replica count of any kind, as `autoscaling/v1.Scale`.

use std::sync::Arc;

use api_semantics::Part;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{object_namespace, patch, write, writer};
use crate::{
    error::{Error, Result},
    meta,
    model::{Format, ScalePaths},
    options::WriteOptions,
    registry::{Change, Create},
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
    let make = |_: &Value| Ok(scale.clone());
    store(call, paths, format, &options, &make).await
}

async fn patch_scale(mut call: Call, paths: &ScalePaths, format: &Arc<Format>) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let body = write::take_body(&mut call).await?;
    let kind = patch::PatchKind::of(call.request.headers())?;
    let make = |present: &Value| patch::apply_to(kind, format, present, &body);
    store(call, paths, format, &options, &make).await
}

/// Changes the parent's replica count to what `make` turns its present scale into.
async fn store(
    call: Call,
    paths: &ScalePaths,
    format: &Format,
    options: &WriteOptions,
    make: &(dyn Fn(&Value) -> Result<Value> + Send + Sync),
) -> Result<Response<Body>> {
    let accepted = respond::negotiate(call.request.headers(), &call.query, true)?;
    let writer = writer(&call, options.dry_run, &options.field_manager);
    let (resource, name, namespace) = (&call.resource, call.info.name.as_str(), object_namespace(&call));
    let make_parent: crate::registry::Make<'_> = Box::new(|old: Option<&Value>| {
        let mut parent = old.cloned().ok_or_else(|| resource.not_found(name))?;
        let scale = make(&scale_of(&parent, paths))?;
        let version = meta::resource_version(&scale);
        if !version.is_empty() && version != meta::resource_version(&parent) {
            return Err(resource.modified(name));
        }
        let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or_else(|| 0.into());
        if replicas.as_i64().is_some_and(|r| r < 0) {
            let path = api_types::Path::new("spec").child("replicas");
            let error = api_types::FieldError::invalid(&path, &replicas, "must be greater than or equal to 0");
            return Err(Error::invalid("autoscaling", "Scale", name, &[error]));
        }
        set_path(&mut parent, &paths.spec_replicas, replicas);
        Ok(parent)
    });
    let change = Change {
        part: Part::Main,
        subresource: "scale",
        make: make_parent,
        keeps_owners: false,
        create: Create::Never,
    };
    let outcome = call.core.registry.update(resource, namespace, name, &change, &writer).await?;
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
