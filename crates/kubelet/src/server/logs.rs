//! `/containerLogs`: the log of one container, as far as was asked for, followed while it grows.

use super::route::{flag, values};
use super::{Failure, fail};
use crate::agent::Agent;
use crate::logs::reader::{self, Wanted};
use crate::pod::PodExt;
use crate::runtime::view::{self, PodView, State};
use api_types::k8s_openapi::api::core::v1::Pod;
use api_types::k8s_openapi::jiff::Timestamp;
use component_base::clock;
use component_base::serving::Body;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks that may wait for a slow client.
const QUEUE: usize = 8;

pub(super) async fn container_logs(
    agent: &Arc<Agent>,
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
) -> Result<Response<Body>, Failure> {
    let Some(pod) = agent.pods.named(namespace, name).into_iter().next() else {
        return fail(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist"));
    };
    if pod.container(container).is_none() {
        return fail(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}"));
    }
    let wanted = parse(query)?;
    let view = view::read(agent.runtime.as_ref(), pod.pod_uid()).await;
    let view = view.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (path, id) = find(agent, &pod, &view, container, flag(query, &["previous"]))?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (weak, shutdown) = (Arc::downgrade(agent), agent.shutdown.clone());
    agent.tasks.spawn(async move {
        let alive = move || {
            let (weak, id) = (weak.clone(), id.clone());
            async move {
                let Some(agent) = weak.upgrade() else { return false };
                let status = agent.runtime.container_status(&id).await;
                status.is_ok_and(|status| status.state() == k8s_cri::v1::ContainerState::ContainerRunning)
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            done = reader::stream(&path, &wanted, sender, alive) => if let Err(error) = done {
                tracing::debug!(path = %path.display(), %error, "log not read to its end");
            }
        }
    });
    let body = StreamBody::new(ReceiverStream::new(receiver).map(|chunk| Ok(Frame::data(chunk))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn find(
    agent: &Agent,
    pod: &Pod,
    view: &PodView,
    container: &str,
    previous: bool,
) -> Result<(PathBuf, String), Failure> {
    let name = pod.pod_name();
    let mut runs = view.containers.iter().filter(|run| run.name == container);
    let run = match previous {
        false => runs.next(),
        true => runs.skip(1).find(|run| run.state == State::Exited),
    };
    match run {
        Some(run) if !run.log.is_empty() => Ok((PathBuf::from(&run.log), run.id.clone())),
        _ if previous => fail(
            StatusCode::BAD_REQUEST,
            format!("previous terminated container {container:?} in pod {name:?} not found"),
        ),
        _ => {
            let status = agent.statuses.status(pod);
            let lists =
                [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
            let state =
                lists.into_iter().flatten().flatten().find(|status| status.name == container).and_then(|s| s.state);
            let why = match state.and_then(|state| state.waiting).and_then(|waiting| waiting.reason) {
                Some(reason) if reason.contains("Image") => {
                    "waiting to start: trying and failing to pull image".to_owned()
                }
                Some(reason) => format!("waiting to start: {reason}"),
                None => "not available".into(),
            };
            fail(StatusCode::BAD_REQUEST, format!("container {container:?} in pod {name:?} is {why}"))
        }
    }
}

fn parse(query: &str) -> Result<Wanted, Failure> {
    let number = |name: &str| -> Result<Option<u64>, Failure> {
        match values(query, name).into_iter().next().filter(|text| !text.is_empty()) {
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => fail(StatusCode::BAD_REQUEST, format!("invalid {name}: {text:?}")),
            },
            None => Ok(None),
        }
    };
    let since = match (number("sinceSeconds")?, values(query, "sinceTime").into_iter().next()) {
        (Some(seconds), _) => Timestamp::from_second(clock::now().as_second() - seconds as i64).ok(),
        (None, Some(text)) => match text.parse() {
            Ok(time) => Some(time),
            Err(_) => return fail(StatusCode::BAD_REQUEST, format!("invalid sinceTime: {text:?}")),
        },
        (None, None) => None,
    };
    let stream = values(query, "stream").into_iter().next().unwrap_or_default();
    Ok(Wanted {
        follow: flag(query, &["follow"]),
        timestamps: flag(query, &["timestamps"]),
        tail: number("tailLines")?,
        limit: number("limitBytes")?,
        since,
        stream: match stream.as_str() {
            "Stdout" => Some("stdout"),
            "Stderr" => Some("stderr"),
            _ => None,
        },
    })
}
