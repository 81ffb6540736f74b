//! `pods/log`, and which container of a pod a request means.

use std::sync::Arc;

use apiserver::error::{Error, Result};
use apiserver::query::Query;
use apiserver::server::{Body, Call, Endpoint};
use async_trait::async_trait;
use component_base::serving::full;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use serde_json::Value;

use super::kubelet::Kubelet;
use super::{boxed, list, object, text};

/// How much of a kubelet's complaint is passed on.
const MAX_COMPLAINT: usize = 50_000;

/// The container that a request means: the one it names, or the only one.
pub(super) fn container(pod: &Value, wanted: &str) -> Result<String> {
    let names = |key: &str| list(pod, key).iter().map(|c| text(c, "/name").to_owned()).collect::<Vec<_>>();
    let (main, init, ephemeral) =
        (names("/spec/containers"), names("/spec/initContainers"), names("/spec/ephemeralContainers"));
    let pod_name = text(pod, "/metadata/name");
    if !wanted.is_empty() {
        if [&main, &init, &ephemeral].iter().any(|list| list.iter().any(|n| n == wanted)) {
            return Ok(wanted.to_owned());
        }
        return Err(Error::bad_request(format!("container {wanted} is not valid for pod {pod_name}")));
    }
    match main.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        several => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(Error::bad_request(message))
        }
    }
}

/// Encodes a query value.
pub(super) fn encode(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The options of `PodLogOptions` that are passed to the kubelet, checked.
fn log_query(query: &Query) -> Result<String> {
    const PASSED: [&str; 8] =
        ["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
    for key in ["sinceSeconds", "tailLines", "limitBytes"] {
        let least = if key == "tailLines" { 0 } else { 1 };
        if let Some(given) = query.first(key)
            && given.parse::<i64>().is_ok_and(|n| n < least)
        {
            let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            return Err(Error::new(
                422,
                "Invalid",
                format!("PodLogOptions \"\" is invalid: {key}: Invalid value: {given}: {why}"),
            ));
        }
    }
    if query.first("sinceSeconds").is_some() && query.first("sinceTime").is_some() {
        return Err(Error::new(
            422,
            "Invalid",
            "PodLogOptions \"\" is invalid: <nil>: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    let pairs: Vec<String> = PASSED
        .iter()
        .filter_map(|key| query.first(key).filter(|v| !v.is_empty()).map(|v| format!("{key}={}", encode(v))))
        .collect();
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// `pods/log`: streams a container's log from its kubelet.
pub(super) struct Log {
    pub(super) kubelet: Arc<Kubelet>,
}

#[async_trait]
impl Endpoint for Log {
    async fn serve(&self, call: Call) -> Result<Response<Body>> {
        let (namespace, name) = (&call.info.namespace, &call.info.name);
        let pod = object(&call, "pods", namespace, name).await?;
        let container = container(&pod, call.query.text("container"))?;
        let query = log_query(&call.query)?;
        let node = text(&pod, "/spec/nodeName");
        if node.is_empty() {
            // Not scheduled yet: there is nothing to read.
            return Ok(plain_text(Response::new(full(Vec::new()))));
        }
        let place = self.kubelet.locate(&call, node).await?;
        let request = Request::get(format!("/containerLogs/{namespace}/{name}/{container}{query}"))
            .header(HOST, place.authority())
            .body(Empty::<bytes::Bytes>::new())
            .map_err(Error::internal)?;
        let unreachable = |e: &dyn std::fmt::Display| {
            Error::internal(format!(
                "Get \"https://{}/containerLogs/{namespace}/{name}/{container}{query}\": {e}",
                place.authority()
            ))
        };
        let io = self.kubelet.dial(&place).await.map_err(|e| unreachable(&e))?;
        let answer = streaming::upgrade::send(io, request, &self.kubelet.tasks).await.map_err(|e| unreachable(&e))?;
        if answer.status().is_success() {
            return Ok(plain_text(boxed(answer.map(BodyExt::boxed))));
        }
        Err(complaint(answer, name).await)
    }
}

fn plain_text(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// A kubelet's failure as an answer of this server.
async fn complaint(answer: Response<hyper::body::Incoming>, name: &str) -> Error {
    let status = answer.status();
    // A complaint that cannot be read whole still has its status.
    let body =
        Limited::new(answer.into_body(), MAX_COMPLAINT).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let said = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
    match status {
        StatusCode::BAD_REQUEST => Error::bad_request(said),
        StatusCode::INTERNAL_SERVER_ERROR => Error::internal(said),
        StatusCode::NOT_FOUND => {
            Error::new(404, "NotFound", format!("the server could not find the requested resource ( pods/log {name})"))
        }
        StatusCode::UNAUTHORIZED => Error::new(
            401,
            "Unauthorized",
            format!("the server has asked for the client to provide credentials ( pods/log {name})"),
        ),
        StatusCode::FORBIDDEN => Error::new(403, "Forbidden", said),
        other => Error::new(
            other.as_u16(),
            "Unknown",
            format!(
                "the server responded with the status code {} but did not return more information ( pods/log {name}): {said}",
                other.as_u16()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_chosen_or_asked_for() {
        let pod = |names: &[&str], init: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
            json!({"metadata": {"name": "p"}, "spec": {"containers": list(names), "initContainers": list(init)}})
        };
        let said = |pod: Value, wanted: &str| container(&pod, wanted).map_err(|e| e.message);
        assert_eq!(said(pod(&["a"], &["i"]), ""), Ok("a".to_owned()));
        assert_eq!(said(pod(&["a", "b"], &["i"]), "i"), Ok("i".to_owned()));
        assert_eq!(said(pod(&["a"], &[]), "x"), Err("container x is not valid for pod p".to_owned()));
        assert_eq!(
            said(pod(&["a", "b"], &[]), ""),
            Err("a container name must be specified for pod p, choose one of: [a b]".to_owned())
        );
        assert_eq!(
            said(pod(&["a", "b"], &["i"]), ""),
            Err(
                "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
                    .to_owned()
            )
        );
    }

    #[test]
    fn log_options_pass_checked() {
        let query = |text: &str| log_query(&Query::parse(text)).map_err(|e| e.code);
        assert_eq!(query("container=a&follow=true&tailLines=5"), Ok("?follow=true&tailLines=5".to_owned()));
        assert_eq!(query("container=a"), Ok(String::new()));
        assert_eq!(query("tailLines=-1"), Err(422));
        assert_eq!(query("sinceSeconds=0"), Err(422));
        assert_eq!(query("sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z"), Err(422));
    }
}
