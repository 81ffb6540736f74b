//! exec, attach and port-forward: the runtime prepares a URL, and the connection is passed through to it as it is.

use super::route::{Target, flag, values};
use super::{Failure, fail};
use crate::agent::Agent;
use crate::pod::PodExt;
use crate::runtime::RuntimeError;
use crate::runtime::view::{self, ContainerView, PodView, State};
use api_types::k8s_openapi::api::core::v1::Pod;
use component_base::serving::{Body, text};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use k8s_cri::v1 as api;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

fn internal(error: &RuntimeError) -> Failure {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// The pod of a path, and what the runtime has of it.
async fn find_pod(agent: &Agent, target: &Target) -> Result<(Arc<Pod>, PodView), Failure> {
    let pods = agent.pods.named(&target.namespace, &target.pod);
    let uid = |pod: &Arc<Pod>| {
        target.uid.as_deref().is_none_or(|uid| {
            // The API server knows a static pod by its mirror's UID.
            let mirror = agent.pods.mirror(&pod.key()).and_then(|mirror| mirror.metadata.uid.clone());
            pod.pod_uid() == uid || mirror.as_deref() == Some(uid)
        })
    };
    let Some(pod) = pods.into_iter().find(uid) else {
        return fail(StatusCode::NOT_FOUND, format!("pod does not exist: {}_{}", target.pod, target.namespace));
    };
    let view = view::read(agent.runtime.as_ref(), pod.pod_uid()).await.map_err(|error| internal(&error))?;
    Ok((pod, view))
}

async fn find_container(agent: &Agent, target: &Target) -> Result<ContainerView, Failure> {
    let (_, view) = find_pod(agent, target).await?;
    match view.newest(&target.container) {
        Some(run) if run.state == State::Running => Ok(run.clone()),
        Some(_) => fail(StatusCode::INTERNAL_SERVER_ERROR, format!("container not running ({})", target.container)),
        None => fail(StatusCode::NOT_FOUND, format!("container not found ({:?})", target.container)),
    }
}

pub(super) async fn exec(
    agent: &Agent,
    target: &Target,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let run = find_container(agent, target).await?;
    let wanted = api::ExecRequest {
        container_id: run.id,
        cmd: values(query, "command"),
        tty: flag(query, &["tty"]),
        stdin: flag(query, &["input", "stdin"]),
        stdout: flag(query, &["output", "stdout"]),
        stderr: flag(query, &["error", "stderr"]) && !flag(query, &["tty"]),
    };
    if wanted.cmd.is_empty() {
        return fail(StatusCode::BAD_REQUEST, "you must specify at least 1 command for the container");
    }
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return fail(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let url = agent.runtime.exec(wanted).await.map_err(|error| internal(&error))?;
    pass_through(agent, &url, request).await
}

pub(super) async fn attach(
    agent: &Agent,
    target: &Target,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let run = find_container(agent, target).await?;
    let (pod, _) = find_pod(agent, target).await?;
    // What the container was created with decides, not what the client says.
    let tty = pod.container(&target.container).is_some_and(|(_, container)| container.tty == Some(true));
    let wanted = api::AttachRequest {
        container_id: run.id,
        tty,
        stdin: flag(query, &["input", "stdin"]),
        stdout: flag(query, &["output", "stdout"]),
        stderr: flag(query, &["error", "stderr"]) && !tty,
    };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return fail(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let url = agent.runtime.attach(wanted).await.map_err(|error| internal(&error))?;
    pass_through(agent, &url, request).await
}

pub(super) async fn port_forward(
    agent: &Agent,
    target: &Target,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let (_, view) = find_pod(agent, target).await?;
    let Some(sandbox) = view.active_sandbox() else {
        return fail(StatusCode::NOT_FOUND, format!("pod not found ({}_{})", target.pod, target.namespace));
    };
    let ports = values(query, "port").into_iter().chain(values(query, "ports"));
    let port: Vec<i32> =
        ports.flat_map(|list| list.split(',').map(str::parse).collect::<Vec<_>>()).filter_map(Result::ok).collect();
    let wanted = api::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port };
    let url = agent.runtime.port_forward(wanted).await.map_err(|error| internal(&error))?;
    pass_through(agent, &url, request).await
}

/// Hands the connection over to the runtime's streaming server.
async fn pass_through(agent: &Agent, url: &str, mut request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let broken = |what: &str, why: String| {
        (StatusCode::BAD_GATEWAY, format!("container runtime's streaming server: {what}: {why}"))
    };
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| broken("URL", error.to_string()))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(broken("URL", format!("{url:?} is not a plain http URL")));
    };
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| broken("host", error.to_string()))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error: http::uri::InvalidUri| broken("path", error.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    request.headers_mut().remove(header::AUTHORIZATION);
    *request.version_mut() = http::Version::HTTP_11;
    let connection =
        TcpStream::connect(authority.as_str()).await.map_err(|error| broken("connect", error.to_string()))?;
    let answer = streaming::forward(request, connection, &agent.tasks).await;
    let answer = answer.map_err(|error| broken("forward", error.to_string()))?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Runs a command and returns what it printed.
pub(super) async fn run(agent: &Agent, target: &Target, query: &str) -> Result<Response<Body>, Failure> {
    const LIMIT: Duration = Duration::from_secs(120);
    let container = find_container(agent, target).await?;
    let command: Vec<String> =
        values(query, "cmd").iter().flat_map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    let answer = agent.runtime.exec_sync(&container.id, command, LIMIT).await.map_err(|error| internal(&error))?;
    Ok(text(StatusCode::OK, [answer.stdout, answer.stderr].concat()))
}
