//! `kubectl logs`.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::Instant;

use super::describe::selector_text;
use crate::cli::context::Context;
use crate::client::Query;
use crate::error::{Error, Result};
use crate::resource::select::{self, Selection};
use crate::resource::{Info, list};
use crate::{fail, out_bytes};

/// Set on pods to choose the container that commands mean when none is named.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// One log to read.
#[derive(Debug)]
struct Source {
    path: String,
    prefix: String,
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    check(cx)?;
    let mut pods = pods(cx).await?;
    if pods.is_empty() {
        eprintln!("No resources found in {} namespace.", cx.namespace()?);
        return Ok(());
    }
    if !cx.flags.bool("all-pods") && cx.flags.opt("selector").is_none() && pods.len() > 1 {
        eprintln!("Found {} pods, using pod/{}", pods.len(), pods[0].name);
        pods.truncate(1);
    }
    let several = pods.len() > 1;
    let sources: Vec<Source> =
        pods.iter().map(|pod| sources(cx, pod, several)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let follow = cx.flags.bool("follow");
    let limit = usize::try_from(cx.flags.int("max-log-requests")).unwrap_or(5);
    if follow && sources.len() > 1 {
        if sources.len() > limit {
            fail!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {limit}, use --max-log-requests to increase the limit",
                sources.len()
            );
        }
        let streams = sources.iter().map(|source| stream(cx, source));
        let results: Vec<Result<()>> = futures::future::join_all(streams).await;
        return Error::collect(results.into_iter().filter_map(Result::err).collect());
    }
    for source in &sources {
        if let Err(error) = stream(cx, source).await {
            if !cx.flags.bool("ignore-errors") {
                return Err(error);
            }
            eprintln!("error: {error}");
        }
    }
    Ok(())
}

fn check(cx: &Context) -> Result<()> {
    const USE: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command";
    let (flags, args) = (&cx.flags, cx.args());
    if flags.changed("since") && flags.changed("since-time") {
        fail!("at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if flags.int("tail") < -1 {
        fail!("--tail must be greater than or equal to -1");
    }
    if flags.bool("all-containers") && (flags.opt("container").is_some() || args.len() == 2) {
        fail!(
            "--all-containers=true should not be specified with container name {}",
            flags.opt("container").unwrap_or_default()
        );
    }
    match (args.len(), flags.opt("selector")) {
        (0, None) => Err(Error::usage("logs", USE)),
        (0, Some(_)) => Ok(()),
        (_, Some(_)) => fail!("only a selector (-l) or a POD name is allowed"),
        (1 | 2, None) => Ok(()),
        _ => Err(Error::usage("logs", USE)),
    }
}

/// The pods whose logs are meant.
async fn pods(cx: &Context) -> Result<Vec<Info>> {
    let resource = cx.resource("pods").await?;
    if let Some(selector) = cx.flags.opt("selector") {
        let query = Query::default().with("labelSelector", selector);
        let found = list(cx, &resource, Some(&cx.namespace()?), &query, 500).await?;
        return Ok(found["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| Info::of_item(&resource, p.clone()))
            .collect());
    }
    let word = &cx.args()[0];
    let words = if word.contains('/') { vec![word.clone()] } else { vec!["pods".to_owned(), word.clone()] };
    let (infos, errors) = select::objects(cx, &words, Selection::default()).await?;
    if let Some(missing) = errors.iter().find(|e| e.is_not_found()) {
        fail!("error from server (NotFound): {missing} in namespace {:?}", cx.namespace()?);
    }
    Error::collect(errors)?;
    let mut pods = Vec::new();
    for info in infos {
        pods.extend(pods_of(cx, info).await?);
    }
    Ok(pods)
}

/// The pods that an object stands for: itself, or those that it selects; ready and running ones first.
pub async fn pods_of(cx: &Context, info: Info) -> Result<Vec<Info>> {
    if info.resource.kind == "Pod" {
        return Ok(vec![info]);
    }
    let selector = selector_text(&info.object["spec"]["selector"]);
    let Some(selector) = selector.filter(|s| !s.is_empty()) else {
        fail!("cannot get the logs from {}: selector for {} not implemented", info.resource.kind, info.resource.name);
    };
    let resource = cx.resource("pods").await?;
    let deadline = Instant::now() + pod_wait(cx);
    loop {
        let found =
            list(cx, &resource, info.namespace.as_deref(), &Query::default().with("labelSelector", &selector), 500)
                .await?;
        let mut pods: Vec<Info> =
            found["items"].as_array().into_iter().flatten().map(|p| Info::of_item(&resource, p.clone())).collect();
        if !pods.is_empty() {
            pods.sort_by_key(|p| rank(&p.object));
            return Ok(pods);
        }
        if Instant::now() >= deadline {
            fail!("timed out waiting for the condition");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn pod_wait(cx: &Context) -> Duration {
    let given = cx.flags.duration("pod-running-timeout");
    if given.is_zero() { Duration::from_secs(20) } else { given }
}

/// Scheduled before unscheduled, running before pending, ready before unready, older first.
fn rank(pod: &Value) -> (bool, u8, bool, String) {
    let phase = match pod["status"]["phase"].as_str() {
        Some("Running") => 0,
        Some("Pending") => 2,
        _ => 1,
    };
    let ready = pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True");
    (
        pod["spec"]["nodeName"].is_null(),
        phase,
        !ready,
        pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned(),
    )
}

fn names<'a>(pod: &'a Value, key: &str) -> Vec<&'a str> {
    pod["spec"][key].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// The container that is meant when none is named: the annotated one, or the first.
pub fn default_container(pod: &Value, say: bool) -> Option<&str> {
    let containers = names(pod, "containers");
    if let Some(name) = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str()
        && containers.contains(&name)
    {
        return Some(name);
    }
    let others = ["initContainers", "ephemeralContainers"].iter().any(|key| !names(pod, key).is_empty());
    if say && (containers.len() > 1 || others && !containers.is_empty()) {
        let mut all: Vec<String> = containers.iter().map(|c| (*c).to_owned()).collect();
        all.extend(names(pod, "initContainers").iter().map(|c| format!("{c} (init)")));
        all.extend(names(pod, "ephemeralContainers").iter().map(|c| format!("{c} (ephem)")));
        eprintln!("Defaulted container {:?} out of: {}", containers[0], all.join(", "));
    }
    containers.first().copied()
}

fn sources(cx: &Context, pod: &Info, several: bool) -> Result<Vec<Source>> {
    let object = &pod.object;
    let explicit = cx.flags.opt("container").or(cx.args().get(1).map(String::as_str));
    let chosen: Vec<&str> = if cx.flags.bool("all-containers") {
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|k| names(object, k)).collect()
    } else {
        match explicit {
            Some(name) => {
                let known = ["containers", "initContainers", "ephemeralContainers"]
                    .iter()
                    .any(|k| names(object, k).contains(&name));
                if !known {
                    fail!("container {name} is not valid for pod {}", pod.name);
                }
                vec![name]
            }
            None => default_container(object, !several).into_iter().collect(),
        }
    };
    let prefixed = cx.flags.bool("prefix");
    let query = query(cx)?;
    Ok(chosen
        .into_iter()
        .map(|container| Source {
            path: query.clone().with("container", container).on(&pod.sub_path("log")),
            prefix: if prefixed { format!("[pod/{}/{container}] ", pod.name) } else { String::new() },
        })
        .collect())
}

fn query(cx: &Context) -> Result<Query> {
    let flags = &cx.flags;
    let yes = |name: &str| flags.bool(name).then_some("true");
    let mut query = Query::default()
        .with_opt("follow", yes("follow"))
        .with_opt("previous", yes("previous"))
        .with_opt("timestamps", yes("timestamps"))
        .with_opt("insecureSkipTLSVerifyBackend", yes("insecure-skip-tls-verify-backend"))
        .with_opt("sinceTime", flags.opt("since-time"));
    let since = flags.duration("since");
    if !since.is_zero() {
        query = query.with("sinceSeconds", since.as_secs_f64().ceil() as i64);
    }
    let limit = flags.int("limit-bytes");
    if limit < 0 {
        fail!("--limit-bytes must be greater than 0");
    }
    query = query.with_opt("limitBytes", (limit > 0).then_some(limit));
    // With a selector only the last lines are shown, unless said otherwise.
    let tail = if flags.opt("selector").is_some() && !flags.changed("tail") { 10 } else { flags.int("tail") };
    Ok(query.with_opt("tailLines", (tail >= 0).then_some(tail)))
}

async fn stream(cx: &Context, source: &Source) -> Result<()> {
    let response = cx.client()?.request(Method::GET, &source.path, "*/*", None).await?;
    let mut body = response.into_body().into_data_stream();
    let mut line = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk: Bytes = chunk.map_err(|e| Error::Plain(format!("reading the log: {e}")))?;
        if source.prefix.is_empty() {
            out_bytes(&chunk);
            continue;
        }
        for piece in chunk.split_inclusive(|b| *b == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                out_bytes(&[source.prefix.as_bytes(), &line].concat());
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        out_bytes(&[source.prefix.as_bytes(), &line].concat());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_container_is_annotated_or_first() {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(default_container(&pod, false), Some("a"));
        pod["metadata"]["annotations"][DEFAULT_CONTAINER] = json!("b");
        assert_eq!(default_container(&pod, false), Some("b"));
    }

    #[test]
    fn running_and_ready_pods_come_first() {
        let pod = |phase: &str, ready: &str| json!({"spec": {"nodeName": "n"}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        let mut pods = [pod("Pending", "False"), pod("Running", "False"), pod("Running", "True")];
        pods.sort_by_key(rank);
        assert_eq!(pods[0], pod("Running", "True"));
        assert_eq!(pods[2], pod("Pending", "False"));
    }
}
