//! The subresources that lead out of the API server: `pods/{log,exec,attach,portforward}` to the kubelet, and
//! `{pods,services,nodes}/proxy` to whatever listens there.
//!
//! The kubelet is reached at the node's address in the order of `--kubelet-preferred-address-types`, with
//! `--kubelet-client-certificate`. Upgraded connections are joined byte by byte, but for two cases that only clients speak: exec and
//! attach over WebSocket `v5` are translated to SPDY, and port-forward's SPDY-in-WebSocket is unwrapped.

mod kubelet;
mod pods;
mod proxy;
mod streams;

use std::sync::Arc;

use apiserver::admission::{Attributes, Operation, Reinvocation};
use apiserver::error::{Error, Result};
use apiserver::server::{Body, BoxError, Call, Endpoint};
use http::Response;
use http_body_util::BodyExt;
use serde_json::Value;

pub(crate) use kubelet::dial_failure;
pub use kubelet::{Kubelet, KubeletOptions};

/// (group, resource, subresource) and what answers it.
pub type Row = ((&'static str, &'static str, &'static str), Arc<dyn Endpoint>);

/// The connect subresources of pods, services and nodes.
pub fn rows(kubelet: &Arc<Kubelet>) -> Vec<Row> {
    let pod = |kind| -> Arc<dyn Endpoint> { Arc::new(streams::PodStreams { kubelet: Arc::clone(kubelet), kind }) };
    let proxy = |target| -> Arc<dyn Endpoint> { Arc::new(proxy::Proxy { kubelet: Arc::clone(kubelet), target }) };
    vec![
        (("", "pods", "log"), Arc::new(pods::Log { kubelet: Arc::clone(kubelet) })),
        (("", "pods", "exec"), pod(streams::Kind::Exec)),
        (("", "pods", "attach"), pod(streams::Kind::Attach)),
        (("", "pods", "portforward"), pod(streams::Kind::PortForward)),
        (("", "pods", "proxy"), proxy(proxy::Target::Pod)),
        (("", "services", "proxy"), proxy(proxy::Target::Service)),
        (("", "nodes", "proxy"), proxy(proxy::Target::Node)),
    ]
}

/// Lets admission judge a connection, before anything is looked up for it. `options` is an object of the kind that upstream has for the
/// subresource's query.
async fn admit(call: &Call, options: &Value) -> Result<()> {
    let attributes = Attributes {
        operation: Operation::Connect,
        resource: &call.resource,
        subresource: &call.info.subresource,
        namespace: &call.info.namespace,
        name: &call.info.name,
        generate_name: "",
        old: None,
        user: &call.user,
        dry_run: false,
        warnings: &call.warnings,
        kind: options["kind"].as_str().map(|kind| ["", "v1", kind]),
        reinvocation: Reinvocation::default(),
    };
    call.core.admission.connect(&attributes, options).await
}

/// An object of the core group.
async fn object(call: &Call, plural: &str, namespace: &str, name: &str) -> Result<Value> {
    let resource = call.core.catalog.preferred("", plural).ok_or_else(Error::no_such_path)?;
    call.core.registry.get_value(&resource, namespace, name).await
}

fn boxed(response: Response<streaming::Body>) -> Response<Body> {
    response.map(|body| body.map_err(|e| -> BoxError { Box::new(e) }).boxed_unsync())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
