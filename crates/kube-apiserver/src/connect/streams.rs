//! `pods/{exec,attach,portforward}`: upgraded connections to the kubelet.

use std::sync::Arc;

use apiserver::error::{Error, Result};
use apiserver::query::Query;
use apiserver::server::{Body, Call, Endpoint};
use async_trait::async_trait;
use component_base::serving::full;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Empty;
use serde_json::{Value, json};
use streaming::remotecommand::{self, Options};
use streaming::websocket::Role;
use streaming::{BoxedIo, upgrade, websocket};

use super::kubelet::{Kubelet, Place};
use super::pods::{container, encode};
use super::{admit, boxed, object, text};

/// Which of the subresources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exec,
    Attach,
    PortForward,
}

impl Kind {
    /// The query as the object that admission sees.
    fn options(self, query: &Query) -> Value {
        let kind = match self {
            Kind::Exec => "PodExecOptions",
            Kind::Attach => "PodAttachOptions",
            Kind::PortForward => "PodPortForwardOptions",
        };
        let mut options = json!({"kind": kind, "apiVersion": "v1"});
        if self == Kind::PortForward {
            let ports: Vec<i32> =
                query.all("ports").flat_map(|p| p.split(',')).filter_map(|p| p.parse().ok()).collect();
            if !ports.is_empty() {
                options["ports"] = ports.into();
            }
            return options;
        }
        for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| query.flag(flag)) {
            options[flag] = true.into();
        }
        if let Some(container) = query.first("container").filter(|c| !c.is_empty()) {
            options["container"] = container.into();
        }
        if self == Kind::Exec {
            options["command"] = query.all("command").collect();
        }
        options
    }
}

/// Answers one of the subresources.
pub(super) struct PodStreams {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) kind: Kind,
}

#[async_trait]
impl Endpoint for PodStreams {
    async fn serve(&self, call: Call) -> Result<Response<Body>> {
        admit(&call, &self.kind.options(&call.query)).await?;
        let pod = object(&call, "pods", &call.info.namespace, &call.info.name).await?;
        let path = self.kubelet_path(&pod, &call)?;
        let node = text(&pod, "/spec/nodeName");
        if node.is_empty() {
            return Err(Error::bad_request(format!("pod {} does not have a host assigned", call.info.name)));
        }
        let place = self.kubelet.locate(&call, node).await?;
        let headers = call.request.headers();
        if !upgrade::is_upgrade_request(headers) {
            return Err(Error::bad_request("Upgrade request required"));
        }
        let offered = if websocket::is_request(headers) { websocket::offered(headers) } else { Vec::new() };
        let translated = match self.kind {
            Kind::PortForward => websocket::TUNNEL,
            Kind::Exec | Kind::Attach => websocket::V5,
        };
        if offered.iter().any(|p| p == translated) {
            return self.translate(call, place, path, translated);
        }
        self.pass(call, &place, &path).await
    }
}

impl PodStreams {
    /// The kubelet's path and query for the request.
    fn kubelet_path(&self, pod: &Value, call: &Call) -> Result<String> {
        let pod_path = format!("{}/{}", call.info.namespace, call.info.name);
        if self.kind == Kind::PortForward {
            let ports: Vec<String> =
                call.query.all("ports").flat_map(|p| p.split(',')).map(|p| format!("port={}", encode(p))).collect();
            let query = if ports.is_empty() { String::new() } else { format!("?{}", ports.join("&")) };
            return Ok(format!("/portForward/{pod_path}{query}"));
        }
        let container = container(pod, call.query.text("container"))?;
        let verb = if self.kind == Kind::Exec { "exec" } else { "attach" };
        Ok(format!("/{verb}/{pod_path}/{container}?{}", stream_query(&call.query, self.kind)?))
    }

    /// Joins the client's connection to the kubelet's, whatever they speak.
    async fn pass(&self, mut call: Call, place: &Place, path: &str) -> Result<Response<Body>> {
        let unreachable = |e: &dyn std::fmt::Display| Error::internal(format!("error dialing backend: {e}"));
        let io = self.kubelet.dial(place).await.map_err(|e| unreachable(&e))?;
        *call.request.uri_mut() = path.parse::<Uri>().map_err(Error::internal)?;
        let host = HeaderValue::from_str(&place.authority()).map_err(Error::internal)?;
        let headers = call.request.headers_mut();
        // The client's credentials are for this server, not for the kubelet.
        headers.remove(AUTHORIZATION);
        headers.insert(HOST, host);
        let response = streaming::forward(call.request, io, &self.kubelet.tasks).await.map_err(|e| unreachable(&e))?;
        Ok(boxed(response))
    }

    /// Grants the WebSocket, and joins it to a SPDY connection of our own.
    fn translate(&self, mut call: Call, place: Place, path: String, protocol: &'static str) -> Result<Response<Body>> {
        let bad = |e: upgrade::UpgradeError| Error::bad_request(e.to_string());
        let accepted = websocket::accept_headers(call.request.headers(), protocol).map_err(bad)?;
        let (response, client) = upgrade::accept(&mut call.request, "websocket");
        let options = options(&call.query);
        let kubelet = Arc::clone(&self.kubelet);
        let kind = self.kind;
        self.kubelet.tasks.spawn(async move {
            let client = match client.await {
                Ok(client) => client,
                Err(error) => return tracing::debug!(%error, "client went away before its upgrade"),
            };
            let stream_protocol =
                if kind == Kind::PortForward { streaming::portforward::PROTOCOL } else { remotecommand::SPDY_PROTOCOL };
            let backend = connect_spdy(&kubelet, &place, &path, stream_protocol).await;
            if kind != Kind::PortForward {
                return remotecommand::translate(
                    client,
                    protocol,
                    options,
                    backend.map_err(|e| remotecommand::internal_error(&e)),
                )
                .await;
            }
            match backend {
                Ok(backend) => websocket::pump(client, Role::Server, backend).await,
                Err(error) => tracing::info!(error, %path, "port forward has no backend"),
            }
        });
        let mut response = response.body(full(Vec::new())).map_err(Error::internal)?;
        response.headers_mut().extend(accepted);
        Ok(response)
    }
}

/// A connection to the kubelet that has switched to SPDY; or why there is none.
async fn connect_spdy(
    kubelet: &Kubelet,
    place: &Place,
    path: &str,
    protocol: &'static str,
) -> std::result::Result<BoxedIo, String> {
    let io = kubelet.dial(place).await.map_err(|e| format!("error dialing backend: {e}"))?;
    let mut headers = HeaderMap::new();
    remotecommand::spdy_request_headers(&mut headers, protocol);
    let mut request = Request::post(path)
        .header(HOST, place.authority())
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| e.to_string())?;
    request.headers_mut().extend(headers);
    match upgrade::connect(io, request, &kubelet.tasks).await {
        Ok((_, io)) => Ok(io),
        Err(upgrade::UpgradeError::Rejected { message, .. }) if !message.is_empty() => {
            Err(format!("unable to upgrade connection: {message}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn options(query: &Query) -> Options {
    let tty = query.flag("tty");
    Options { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr") && !tty, tty }
}

/// The kubelet's names for the streams of exec and attach.
fn stream_query(query: &Query, kind: Kind) -> Result<String> {
    let mut pairs: Vec<String> = Vec::new();
    for (ours, kubelets) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(ours) {
            pairs.push(format!("{kubelets}=1"));
        }
    }
    if pairs.iter().all(|p| p == "tty=1") {
        return Err(Error::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let commands: Vec<String> = query.all("command").map(|c| format!("command={}", encode(c))).collect();
    if kind == Kind::Exec && commands.is_empty() {
        return Err(Error::bad_request("you must specify at least 1 command"));
    }
    pairs.extend(commands);
    Ok(pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_sees_the_query_as_an_object() {
        for (kind, query, expected) in [
            (
                Kind::Exec,
                "command=ls&command=-l&stdout=true&container=a",
                json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "container": "a", "command": ["ls", "-l"]}),
            ),
            (Kind::Attach, "stdin=1&tty=false", json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true})),
            (
                Kind::PortForward,
                "ports=80,81",
                json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 81]}),
            ),
        ] {
            assert_eq!(kind.options(&Query::parse(query)), expected);
        }
    }

    #[test]
    fn queries_are_said_in_the_kubelets_words() {
        let said = |text: &str, kind| stream_query(&Query::parse(text), kind).map_err(|e| e.message);
        assert_eq!(
            said("command=ls&command=-l%20x&stdin=true&stdout=1&tty=true&container=a", Kind::Exec).unwrap(),
            "input=1&output=1&tty=1&command=ls&command=-l%20x"
        );
        assert_eq!(said("stdout=true&stderr=true", Kind::Attach).unwrap(), "output=1&error=1");
        assert_eq!(said("stdout=true", Kind::Exec), Err("you must specify at least 1 command".to_owned()));
        assert_eq!(
            said("command=ls&tty=true", Kind::Exec),
            Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())
        );
    }
}
