//! `pods/binding`: the scheduler puts a pod on a node.

use api_semantics::Part;
use apiserver::{
    error::{Error, Result},
    meta,
    options::WriteOptions,
    registry::{Change, Create, Make, Writer},
    respond,
    server::{Body, Call, Endpoint, RequestBody, read_body},
    verbs,
};
use async_trait::async_trait;
use http::{Response, StatusCode};
use serde_json::{Value, json};

pub(super) struct Binding;

#[async_trait]
impl Endpoint for Binding {
    async fn serve(&self, mut call: Call) -> Result<Response<Body>> {
        let accepted = respond::negotiate(call.request.headers(), &call.query, false)?;
        let options = WriteOptions::parse(&call.query, "CreateOptions")?;
        let body = std::mem::replace(call.request.body_mut(), RequestBody::empty());
        let body = read_body(body).await?;
        let format = call.core.catalog.format("", "v1", "Binding").ok_or_else(Error::no_such_path)?;
        let headers = call.request.headers();
        let binding = verbs::decode_object(&format, headers, &body, options.field_validation, &call.warnings)?;
        let name =
            if call.info.subresource.is_empty() { meta::name(&binding).to_owned() } else { call.info.name.clone() };
        if !meta::name(&binding).is_empty() && meta::name(&binding) != name {
            return Err(Error::bad_request("name in URL does not match name in Binding object"));
        }
        let pods = call.core.catalog.find("", "v1", "pods").ok_or_else(Error::no_such_path)?;
        let writer = Writer {
            user: call.user.clone(),
            warnings: call.warnings.clone(),
            dry_run: options.dry_run,
            manager: verbs::manager_name(&call, &options.field_manager),
            applied: false,
        };
        let make: Make<'_> = Box::new(|pod: Option<&Value>| {
            let pod = pod.ok_or_else(|| pods.not_found(&name))?;
            bind(pod, &binding).map_err(|why| Error::conflict("", "pods/binding", &name, &why))
        });
        let change = Change {
            part: Part::Other("binding"),
            subresource: "binding",
            make,
            keeps_owners: false,
            create: Create::Never,
        };
        call.core.registry.update(&pods, &call.info.namespace, &name, &change, &writer).await?;
        let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
        let body = apiserver::codec::encode_status(accepted.codec, &status);
        Ok(respond::bytes(StatusCode::CREATED, accepted.codec.content_type(), body))
    }
}

/// The pod with its node; or why it can't be bound.
fn bind(pod: &Value, binding: &Value) -> std::result::Result<Value, String> {
    let uid = meta::uid(binding);
    if !uid.is_empty() && uid != meta::uid(pod) {
        return Err(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::uid(pod)));
    }
    let name = meta::name(pod);
    if meta::is_terminating(pod) {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = meta::path_text(pod, "spec.nodeName");
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node \"{node}\""));
    }
    let gated = pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|g| !g.is_empty());
    if gated {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut bound = pod.clone();
    let target = meta::path_text(binding, "target.name");
    meta::map_mut(&mut bound, "spec").insert("nodeName".to_owned(), target.into());
    if let Some(annotations) = meta::get(binding, "annotations").and_then(Value::as_object) {
        let own = meta::map_mut(meta::metadata_value(&mut bound), "annotations");
        own.extend(annotations.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    set_scheduled(&mut bound);
    Ok(bound)
}

/// The condition `PodScheduled` becomes true.
fn set_scheduled(pod: &mut Value) {
    let now = meta::timestamp(component_base::clock::now());
    let status = meta::map_mut(pod, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    let scheduled =
        json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    match list.iter_mut().find(|c| c.get("type").and_then(Value::as_str) == Some("PodScheduled")) {
        Some(condition) if condition.get("status").and_then(Value::as_str) == Some("True") => {}
        Some(condition) => *condition = scheduled,
        None => list.push(scheduled),
    }
}
