//! The verbs: from an authorized request to an answer. None knows a kind.

mod collection;
mod delete;
mod patch;
mod read;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use api_semantics::Part;
use http::Response;

pub use read::list_entries;
pub use write::decode_object;

use crate::{
    error::{Error, Result},
    model::{Subresource, SubresourceInfo},
    registry::Writer,
    server::{Body, Call, Core},
};

/// Answers a request for a resource.
pub async fn serve(call: Call) -> Result<Response<Body>> {
    if let Some(text) = &call.resource.deprecation {
        call.warnings.add(text);
    }
    if call.info.subresource.is_empty() { serve_resource(call).await } else { serve_subresource(call).await }
}

async fn serve_resource(call: Call) -> Result<Response<Body>> {
    let resource = Arc::clone(&call.resource);
    check_scope(&call)?;
    if !resource.allows(&call.info.verb) || !fits_path(&call) {
        return Err(Error::method_not_allowed());
    }
    if let Some(endpoint) = &resource.endpoint {
        return endpoint.serve(call).await;
    }
    match call.info.verb.as_str() {
        "get" => read::get(call).await,
        "list" => read::list(call).await,
        "watch" => watch::watch(call).await,
        "create" => write::create(call).await,
        "update" => write::update(call, Part::Main).await,
        "patch" => patch::patch(call, Part::Main).await,
        "delete" => delete::delete(call).await,
        "deletecollection" => collection::delete_collection(call).await,
        _ => Err(Error::method_not_allowed()),
    }
}

async fn serve_subresource(call: Call) -> Result<Response<Body>> {
    let resource = Arc::clone(&call.resource);
    let info: &SubresourceInfo = resource.subresource(&call.info.subresource).ok_or_else(Error::no_such_path)?;
    check_scope(&call)?;
    if !info.verbs.contains(&call.info.verb) {
        return Err(Error::method_not_allowed());
    }
    match (&info.handler, call.info.verb.as_str()) {
        (Subresource::Endpoint(endpoint), _) => endpoint.serve(call).await,
        (Subresource::Part(_), "get") => read::get(call).await,
        (Subresource::Part(part), "update") => write::update(call, *part).await,
        (Subresource::Part(part), "patch") => patch::patch(call, *part).await,
        (Subresource::Scale(paths), _) => scale::serve(call, paths).await,
        _ => Err(Error::method_not_allowed()),
    }
}

/// A namespaced resource is named below a namespace (or read across all), a cluster-scoped one is not.
fn check_scope(call: &Call) -> Result<()> {
    let info = &call.info;
    let in_namespace = !info.namespace.is_empty() && call.resource.plural != "namespaces";
    if in_namespace && !call.resource.namespaced {
        return Err(Error::no_such_path());
    }
    if call.resource.namespaced
        && info.namespace.is_empty()
        && !matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
    {
        return Err(if info.name.is_empty() { Error::method_not_allowed() } else { Error::no_such_path() });
    }
    Ok(())
}

/// Create goes to the collection, update and patch to one object.
fn fits_path(call: &Call) -> bool {
    match call.info.verb.as_str() {
        "create" => call.info.name.is_empty(),
        "update" | "patch" => !call.info.name.is_empty(),
        "deletecollection" => !call.resource.namespaced || !call.info.namespace.is_empty(),
        _ => true,
    }
}

/// The writer that a call stands for. `manager` is the client's `fieldManager`; its program's name stands in.
pub fn writer(call: &Call, dry_run: bool, manager: &str) -> Writer {
    let manager = manager_name(call, manager);
    Writer { user: call.user.clone(), warnings: call.warnings.clone(), dry_run, manager, applied: false }
}

/// The field manager that a client names, or else its program's name.
pub fn manager_name(call: &Call, given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let agent = call.request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    let printable: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    if printable.is_empty() { "unknown".to_owned() } else { printable }
}

/// The namespace that a request's objects lie in, "" for cluster-scoped ones.
fn object_namespace(call: &Call) -> &str {
    if call.resource.namespaced { &call.info.namespace } else { "" }
}

impl Core {
    /// The resource that a request names.
    pub fn resource_of(&self, info: &crate::request_info::RequestInfo) -> Result<Arc<crate::model::Resource>> {
        self.catalog.find(&info.group, &info.version, &info.resource).ok_or_else(Error::no_such_path)
    }
}
