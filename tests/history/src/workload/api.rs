//! Requests as the checker knows them, over any of several servers.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Result, bail};
use component_base::rng;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use testkit::checker::{At, Call, Expected, Outcome};

use crate::Recorder;

pub(super) const OBJECTS: &str = "/api/v1/namespaces/default/configmaps";
/// Whose answers take longer are given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// One client.
pub(super) struct Api {
    pub(super) name: String,
    pub(super) recorder: Recorder,
    servers: Vec<kube::Client>,
    current: AtomicUsize,
}

/// The server did not answer.
pub(super) struct Lost;

impl Api {
    pub(super) fn new(name: &str, servers: &[kube::Client], recorder: &Recorder) -> Self {
        let current = AtomicUsize::new(rng::range(0..servers.len() as u64) as usize);
        Self { name: name.to_owned(), recorder: recorder.clone(), servers: servers.to_vec(), current }
    }

    /// Sends a request to the present server; after a failure another one is asked.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<http::Response<Body>, Lost> {
        let current = self.current.load(Ordering::Relaxed);
        let answer = tokio::time::timeout(PATIENCE, self.servers[current].send(request)).await;
        match answer {
            Ok(Ok(response)) => Ok(response),
            _ => {
                self.move_on();
                Err(Lost)
            }
        }
    }

    /// The next request goes to another server, if there is one.
    pub(super) fn move_on(&self) {
        self.current.store(rng::range(0..self.servers.len() as u64) as usize, Ordering::Relaxed);
    }

    pub(super) async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Value), Lost> {
        let (head, body) = self.send(request).await?.into_parts();
        let bytes =
            tokio::time::timeout(PATIENCE, body.collect()).await.map_err(|_| Lost)?.map_err(|_| Lost)?.to_bytes();
        Ok((head.status, serde_json::from_slice(&bytes).map_err(|_| Lost)?))
    }

    /// Does one thing and records it.
    pub(super) async fn call(&self, key: &str, call: Call) -> Result<Outcome> {
        let began = self.recorder.begin();
        let outcome = match &call {
            Call::List(at) => self.list(*at).await?,
            _ => match self.exchange(request(key, &call)?).await {
                Ok((code, answer)) => outcome(&call, code, &answer)?,
                Err(Lost) => Outcome::Unknown,
            },
        };
        self.recorder.end(&self.name, began, key, call, outcome.clone());
        Ok(outcome)
    }

    /// All pages of a list; what is listed at once is left to chance.
    async fn list(&self, at: At) -> Result<Outcome> {
        let limit = if rng::range(0..2) == 0 { String::new() } else { format!("&limit={}", rng::range(1..4)) };
        let version = match at {
            At::Newest => String::new(),
            At::Any => "&resourceVersion=0".to_owned(),
            At::NotOlderThan(revision) => format!("&resourceVersion={revision}&resourceVersionMatch=NotOlderThan"),
            At::Exact(revision) => format!("&resourceVersion={revision}&resourceVersionMatch=Exact"),
        };
        let (mut items, mut listed, mut more) = (BTreeMap::new(), None, None::<String>);
        loop {
            let query = match &more {
                None => format!("{OBJECTS}?a=b{limit}{version}"),
                Some(token) => format!("{OBJECTS}?a=b{limit}&continue={token}"),
            };
            let Ok((code, answer)) = self.exchange(get(&query)?).await else { return Ok(Outcome::Unknown) };
            match code.as_u16() {
                200 => {}
                410 | 429 | 500.. => return Ok(Outcome::Refused),
                _ => bail!("{}: {query}: {code} {answer}", self.name),
            }
            let revision = revision(&answer)?;
            if *listed.get_or_insert(revision) != revision {
                bail!("{}: pages of one list are of revisions {listed:?} and {revision}", self.name);
            }
            for item in answer["items"].as_array().into_iter().flatten() {
                if let Some((key, state)) = object(item)?
                    && items.insert(key.clone(), state).is_some()
                {
                    bail!("{}: {key} is listed twice", self.name);
                }
            }
            more = answer["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
            if more.is_none() {
                return Ok(Outcome::Listed { revision, items });
            }
        }
    }
}

/// The object's key, revision and value; `None` for objects that are not ours.
pub(super) fn object(object: &Value) -> Result<Option<(String, (u64, String))>> {
    let Some(name) = object["metadata"]["name"].as_str().filter(|name| name.starts_with("cm-")) else {
        return Ok(None);
    };
    let value = object["data"]["value"].as_str().unwrap_or_default();
    Ok(Some((name.to_owned(), (revision(object)?, value.to_owned()))))
}

pub(super) fn revision(object: &Value) -> Result<u64> {
    match object["metadata"]["resourceVersion"].as_str().map(str::parse) {
        Some(Ok(revision)) => Ok(revision),
        _ => bail!("no revision in {object}"),
    }
}

pub(super) fn get(path: &str) -> Result<Request<Body>> {
    Ok(Request::get(path).body(Body::empty())?)
}

fn request(key: &str, call: &Call) -> Result<Request<Body>> {
    let one = format!("{OBJECTS}/{key}");
    let object = |value: &str, version: Option<u64>| {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key}, "data": {"value": value}});
        if let Some(version) = version {
            object["metadata"]["resourceVersion"] = version.to_string().into();
        }
        object
    };
    let (method, path, kind, body) = match call {
        Call::Put { value, expected: Expected::Absent } => (Method::POST, OBJECTS, "json", object(value, None)),
        Call::Put { value, expected: Expected::At(at) } => {
            (Method::PUT, one.as_str(), "json", object(value, Some(*at)))
        }
        Call::Put { value, expected: Expected::Any } => {
            (Method::PATCH, one.as_str(), "merge-patch+json", json!({"data": {"value": value}}))
        }
        Call::Delete { expected: None } => (Method::DELETE, one.as_str(), "json", json!({})),
        Call::Delete { expected: Some(at) } => {
            let options = json!({"preconditions": {"resourceVersion": at.to_string()}});
            (Method::DELETE, one.as_str(), "json", options)
        }
        Call::Get => return get(&one),
        Call::List(_) => bail!("a list is more than one request"),
    };
    let request = Request::builder().method(method).uri(path).header("Content-Type", format!("application/{kind}"));
    Ok(request.body(Body::from(body.to_string().into_bytes()))?)
}

/// What an answer says of what was asked.
fn outcome(call: &Call, code: StatusCode, answer: &Value) -> Result<Outcome> {
    Ok(match (call, code.as_u16(), answer["reason"].as_str().unwrap_or_default()) {
        (Call::Delete { .. }, 200, _) => Outcome::Deleted,
        (Call::Put { .. }, 200 | 201, _) => Outcome::Written { revision: revision(answer)? },
        (Call::Get, 200, _) => match object(answer)? {
            Some((_, (revision, value))) => Outcome::Found { revision, value },
            None => bail!("another object was found: {answer}"),
        },
        (_, 409, "AlreadyExists") => Outcome::Exists,
        (_, 409, "Conflict") => Outcome::Conflict,
        (_, 404, _) => Outcome::Absent,
        (_, 429, _) => Outcome::Refused,
        (_, 500.., _) => Outcome::Unknown,
        _ => bail!("{call:?} was answered with {code}: {answer}"),
    })
}
