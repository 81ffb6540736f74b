//! A client as conformance programs have one: raw requests, bodies in JSON or in protobuf, watches of either.

use std::{fmt, future::Future, time::Duration};

use api_types::{protobuf, schema};
use futures::StreamExt;
use http_body_util::{BodyDataStream, BodyExt};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use testkit::{Cluster, Options, eventually, simulate};

/// How long anything may take to come true, in the cluster's time.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Both forms.
pub(crate) const BOTH: [Form; 2] = [Form::Json, Form::Protobuf];

/// What bodies are written in, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// Runs a scenario on a cluster without nodes, with a client of an administrator in each form.
pub(crate) fn on_cluster<F: Future<Output = ()>>(
    forms: &[Form],
    scenario: impl Fn(Session) -> F + Copy + Send + 'static,
) {
    for form in forms.iter().copied() {
        simulate(1, move || async move {
            let cluster = Cluster::start(Options { nodes: 0, ..Options::default() }).await.unwrap();
            let session = Session { client: cluster.admin(), form };
            session.create("/api/v1/namespaces", json!({"metadata": {"name": "test"}})).await;
            session
                .wait_for("/api/v1/namespaces/test/serviceaccounts/default", |account| {
                    account["metadata"]["name"].is_string()
                })
                .await;
            scenario(session).await;
            cluster.stop().await;
        });
    }
}

/// One client.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) form: Form,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) headers: http::HeaderMap,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.body)
    }
}

// === impl Answer ===

impl Answer {
    /// The body of an answer that must have this code.
    #[track_caller]
    pub(crate) fn is(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// The same, where the message must have this text.
    #[track_caller]
    pub(crate) fn says(self, code: u16, text: &str) -> Value {
        let body = self.is(code);
        assert!(body["message"].as_str().unwrap_or_default().contains(text), "{text} is not in {body}");
        body
    }
}

// === impl Session ===

impl Session {
    /// Sends any request: `accept` and `content_type` as they are.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        (accept, content_type): (&str, &str),
        body: Vec<u8>,
    ) -> http::Response<Body> {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("accept", accept).header("content-type", content_type);
        self.client.send(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let accept = format!("{},application/json", self.form.media_type());
        let response = self.send(method, path, (&accept, content_type), body).await;
        answer(response).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "", Vec::new()).await
    }

    async fn write(&self, method: &str, path: &str, body: Value) -> Answer {
        match self.form {
            Form::Protobuf => match to_protobuf(&body) {
                Some(bytes) => self.call(method, path, self.form.media_type(), bytes).await,
                // Custom resources have no protobuf.
                None => self.call(method, path, "application/json", body.to_string().into_bytes()).await,
            },
            Form::Json => self.call(method, path, "application/json", body.to_string().into_bytes()).await,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.write("POST", path, body).await
    }

    /// Creates the object, which must work.
    pub(crate) async fn create(&self, path: &str, mut body: Value) -> Value {
        self.complete(path, &mut body).await;
        self.post(path, body).await.is(201)
    }

    /// Fills in kind and version by the path, as typed clients have them from their types.
    async fn complete(&self, path: &str, body: &mut Value) {
        if body.get("kind").is_some() {
            return;
        }
        let (root, rest) = root_of(path);
        let plural = rest.split('/').next().unwrap_or_default();
        let list = self.call("GET", root, "", Vec::new()).await;
        let list = list.body["resources"].as_array().cloned().unwrap_or_default();
        let of = list.iter().find(|r| r["name"] == plural).unwrap_or_else(|| panic!("no {plural} below {root}"));
        body["kind"] = of["kind"].clone();
        body["apiVersion"] = root.trim_start_matches("/apis/").trim_start_matches("/api/").into();
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.write("PUT", path, body).await
    }

    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Answer {
        self.call("PATCH", path, "application/merge-patch+json", patch.to_string().into_bytes()).await
    }

    pub(crate) async fn strategic(&self, path: &str, patch: Value) -> Answer {
        self.call("PATCH", path, "application/strategic-merge-patch+json", patch.to_string().into_bytes()).await
    }

    pub(crate) async fn json_patch(&self, path: &str, patch: Value) -> Answer {
        self.call("PATCH", path, "application/json-patch+json", patch.to_string().into_bytes()).await
    }

    /// Server-side apply of YAML or JSON text.
    pub(crate) async fn apply(&self, path: &str, text: &str) -> Answer {
        self.call("PATCH", path, "application/apply-patch+yaml", text.as_bytes().to_vec()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "", Vec::new()).await
    }

    pub(crate) async fn delete_with(&self, path: &str, options: Value) -> Answer {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.write("DELETE", path, body).await
    }

    /// The items of a list.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await.is(200)["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the object at `path` is as it should be.
    pub(crate) async fn wait_for(&self, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        let good = &good;
        let look = || async move {
            let answer = self.get(path).await;
            if good(&answer.body) { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        };
        eventually(LIMIT, path, look).await
    }

    /// Waits until there is nothing at `path`.
    pub(crate) async fn wait_gone(&self, path: &str) {
        self.wait_for(path, |body| body["code"] == 404).await;
    }

    /// Opens a watch; `path` has `watch=true`.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let accept = match self.form {
            Form::Json => "application/json;stream=watch",
            Form::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        };
        let response = self.send("GET", path, (&format!("{accept},application/json"), ""), Vec::new()).await;
        assert_eq!(response.status(), 200, "{path}");
        let json = response.headers()["content-type"].to_str().unwrap().starts_with("application/json");
        let form = if json { Form::Json } else { self.form };
        Watch { path: path.to_owned(), form, body: response.into_body().into_data_stream(), read: Vec::new() }
    }
}

/// An open watch.
pub(crate) struct Watch {
    path: String,
    form: Form,
    body: BodyDataStream<Body>,
    read: Vec<u8>,
}

// === impl Watch ===

impl Watch {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            let data = self.body.next().await?;
            self.read.extend_from_slice(&data.unwrap());
        }
    }

    /// The next event of this type about this object; other events are passed over.
    pub(crate) async fn until(&mut self, kind: &str, name: &str) -> Value {
        let mut seen = Vec::new();
        loop {
            let event = tokio::time::timeout(LIMIT, self.next()).await.ok().flatten();
            let (found, object) = event.unwrap_or_else(|| panic!("no {kind} of {name} in {}: {seen:?}", self.path));
            seen.push(format!("{found} {}", object["metadata"]["name"]));
            if found == kind && object["metadata"]["name"] == name {
                return object;
            }
        }
    }

    /// The next event, which must be of this type and about this object.
    pub(crate) async fn expect(&mut self, kind: &str, name: &str) -> Value {
        let event = tokio::time::timeout(LIMIT, self.next()).await.ok().flatten();
        let (found, object) = event.unwrap_or_else(|| panic!("no {kind} of {name} in {}", self.path));
        assert_eq!((found.as_str(), object["metadata"]["name"].as_str()), (kind, Some(name)), "{object}");
        object
    }

    fn take(&mut self) -> Option<(String, Value)> {
        match self.form {
            Form::Json => {
                let end = self.read.iter().position(|b| *b == b'\n')?;
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                Some((event["type"].as_str().unwrap().to_owned(), event["object"].clone()))
            }
            Form::Protobuf => {
                let size = u32::from_be_bytes(self.read.get(..4)?.try_into().unwrap()) as usize;
                let frame = self.read.get(4..4 + size)?.to_vec();
                self.read.drain(..4 + size);
                Some(watch_event(&frame))
            }
        }
    }
}

/// A `WatchEvent`: its type (1) and a `RawExtension` (2) with an enveloped object (1).
fn watch_event(frame: &[u8]) -> (String, Value) {
    let fields = fields_of(frame);
    let kind = String::from_utf8(fields[0].1.to_vec()).unwrap();
    (kind, from_protobuf(fields_of(fields[1].1)[0].1))
}

/// The length-delimited fields of a message.
fn fields_of(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut out = Vec::new();
    while !message.is_empty() {
        let (tag, rest) = varint(message);
        let (size, rest) = varint(rest);
        out.push((tag >> 3, &rest[..size as usize]));
        message = &rest[size as usize..];
    }
    out
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let end = bytes.iter().position(|b| b & 0x80 == 0).unwrap();
    let number = bytes[..=end].iter().enumerate().fold(0, |n, (i, b)| n | u64::from(b & 0x7f) << (7 * i));
    (number, &bytes[end + 1..])
}

pub(crate) async fn answer(response: http::Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let media = parts.headers.get("content-type").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = match media.as_str() {
        media if media.starts_with("application/vnd.kubernetes.protobuf") => from_protobuf(&bytes),
        media if media.starts_with("application/json") => serde_json::from_slice(&bytes).unwrap(),
        _ => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Answer { code: parts.status.as_u16(), body, headers: parts.headers }
}

fn schema_of(api_version: &str, kind: &str) -> Option<schema::Schema> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::lookup(group, version, kind)
}

fn to_protobuf(body: &Value) -> Option<Vec<u8>> {
    let schema = schema_of(body["apiVersion"].as_str()?, body["kind"].as_str()?)?;
    let mut out = Vec::new();
    protobuf::encode_object(body, &schema, &mut out);
    Some(out)
}

fn from_protobuf(bytes: &[u8]) -> Value {
    let unknown = protobuf::decode_envelope(bytes).unwrap();
    let schema = schema_of(&unknown.api_version, &unknown.kind).unwrap_or_else(|| panic!("no schema of {unknown:?}"));
    protobuf::decode_object(bytes, &schema).unwrap()
}

/// `/apis/apps/v1/namespaces/x/deployments/d` → `/apis/apps/v1` and what follows the namespace.
fn root_of(path: &str) -> (&str, &str) {
    let depth = if path.starts_with("/apis/") { 4 } else { 3 };
    let end = path.match_indices('/').nth(depth - 1).map_or(path.len(), |(at, _)| at);
    let rest = path[end..].trim_start_matches('/');
    let rest = match rest.strip_prefix("namespaces/").and_then(|r| r.split_once('/')) {
        Some((_, below)) => below,
        None => rest,
    };
    (&path[..end], rest)
}
