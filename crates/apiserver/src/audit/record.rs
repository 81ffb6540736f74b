//! What is known of one request, from its arrival to its end, and the events that tell of it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Level, Sink, Stage, body, policy::Decision};
use crate::{
    authn::PeerAddress,
    error::{Error, Result},
    request_info::RequestInfo,
    respond,
    server::{Body, RequestBody, read_body},
    user::UserInfo,
};

/// More of a client's name for itself is cut off.
const MAX_AGENT: usize = 1024;

/// See the module.
pub(crate) struct Record {
    sink: Arc<dyn Sink>,
    decision: Decision,
    info: Arc<RequestInfo>,
    received: Timestamp,
    event: Mutex<Event>,
}

/// An event so far, its fields in upstream's order.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: &'static str,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: UserInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<UserInfo>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What a request is about; the first to name a field is believed.
#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(skip_serializing_if = "String::is_empty")]
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

/// What came of a request: the parts of a `Status` that are bounded.
#[derive(Clone, Default, Serialize)]
struct Status {
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    details: Value,
    code: u16,
}

impl Status {
    fn failure(code: u16, reason: &str, message: String) -> Status {
        Status { status: "Failure".to_owned(), message, reason: reason.to_owned(), code, ..Status::default() }
    }
}

impl Record {
    pub(super) fn new(
        sink: Arc<dyn Sink>,
        decision: Decision,
        request: &Parts,
        info: &Arc<RequestInfo>,
        user: Option<&UserInfo>,
        id: &str,
    ) -> Record {
        let agent = request.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let agent = match agent.get(..MAX_AGENT) {
            Some(cut) if agent.len() > MAX_AGENT => format!("{cut}...TRUNCATED"),
            _ => agent.to_owned(),
        };
        let received = component_base::clock::now();
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: decision.level.name(),
            audit_id: id.to_owned(),
            request_uri: request.uri.path_and_query().map_or("", |uri| uri.as_str()).to_owned(),
            verb: info.verb.clone(),
            user: user.cloned().unwrap_or_default(),
            source_ips: addresses(request),
            user_agent: agent,
            object_ref: info.is_resource.then(|| reference(info)),
            request_received_timestamp: api_types::time::format_micro(&received),
            ..Event::default()
        };
        Record { sink, decision, info: Arc::clone(info), received, event: Mutex::new(event) }
    }

    pub(super) fn annotate(&self, key: &str, value: &str) {
        self.event.lock().annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Tells that the request has arrived.
    ///
    /// # Errors
    /// The event could not be written, and the log's mode demands that it is.
    pub(crate) fn received(&self) -> Result<()> {
        if self.tell(Stage::RequestReceived) { Ok(()) } else { Err(Error::internal("failed to store audit event")) }
    }

    pub(crate) fn impersonated(&self, user: &UserInfo) {
        self.event.lock().impersonated_user = Some(user.clone());
    }

    /// Reads the body of a request as far as events show it; gives it back.
    pub(crate) async fn capture(&self, headers: &HeaderMap, body: Body) -> Result<Body> {
        let writes = matches!(self.info.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection");
        if !self.info.is_resource || !writes || self.info.is_long_running() {
            return Ok(body);
        }
        let bytes = read_body(RequestBody::new(body)).await?;
        let object = body::read(headers, &bytes);
        if let Some(mut object) = object {
            self.name(&object);
            if self.decision.level >= Level::Request {
                self.omit(&mut object);
                self.event.lock().request_object = Some(object);
            }
        }
        Ok(respond::full(bytes))
    }

    /// Completes the reference to the object by what the client says of it.
    fn name(&self, object: &Value) {
        if !matches!(self.info.verb.as_str(), "create" | "update") {
            return;
        }
        let mut event = self.event.lock();
        let Some(reference) = &mut event.object_ref else { return };
        for (field, known) in [
            ("namespace", &mut reference.namespace),
            ("name", &mut reference.name),
            ("uid", &mut reference.uid),
            ("resourceVersion", &mut reference.resource_version),
        ] {
            if known.is_empty() {
                *known = object["metadata"][field].as_str().unwrap_or_default().to_owned();
            }
        }
    }

    fn omit(&self, object: &mut Value) {
        if self.decision.omit_managed_fields {
            body::omit_managed_fields(object);
        }
    }

    fn answered(&self, status: Status) {
        self.event.lock().response_status = Some(status);
    }

    /// Tells of the answer: at once, or of a long-running one when it starts and when it ends.
    pub(crate) async fn finish(self: Arc<Self>, response: Response<Body>) -> Response<Body> {
        let code = response.status();
        self.answered(Status { code: code.as_u16(), ..Status::default() });
        if self.info.is_long_running() && code.is_success() {
            self.tell(Stage::ResponseStarted);
            return response.map(|body| watched(body, Complete(self)));
        }
        let response = if self.shows_answer(code) { self.show(response).await } else { response };
        if self.info.is_long_running() {
            self.tell(Stage::ResponseStarted);
        }
        self.tell(Stage::ResponseComplete);
        response
    }

    /// Whether the answer has to be read: for itself, or because it may be a `Status`.
    fn shows_answer(&self, code: StatusCode) -> bool {
        let may_be_status = code.as_u16() >= 400 || self.info.verb == "delete";
        self.info.is_resource && (self.decision.level == Level::RequestResponse || may_be_status)
    }

    async fn show(&self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let Ok(bytes) = body.collect().await.map(|body| body.to_bytes()) else {
            return respond::error(&Error::internal("the answer could not be read"), &parts.headers);
        };
        if let Some(mut object) = body::read(&parts.headers, &bytes) {
            if object["kind"] == "Status" && object["apiVersion"] == "v1" {
                let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
                let details = object.get("details").cloned().unwrap_or_default();
                let (status, message, reason) = (text("status"), text("message"), text("reason"));
                let code = parts.status.as_u16();
                self.answered(Status { status, message, reason, details, code, ..Status::default() });
            }
            if self.decision.level == Level::RequestResponse {
                self.omit(&mut object);
                self.event.lock().response_object = Some(object);
            }
        }
        Response::from_parts(parts, respond::full(bytes))
    }

    /// Tells of a panic.
    pub(crate) fn panicked(&self, why: &str) {
        self.answered(Status::failure(500, "InternalError", format!("APIServer panic'd: {why}")));
        self.tell(Stage::Panic);
    }

    /// Tells of a request whose credentials are wrong.
    pub(crate) fn unauthenticated(&self) {
        self.answered(Status::failure(401, "Unauthorized", "Authentication failed".to_owned()));
        self.tell(Stage::ResponseStarted);
    }

    /// Whether the event was written, or needs not be.
    fn tell(&self, stage: Stage) -> bool {
        if self.decision.omit_stages.contains(&stage) {
            return true;
        }
        let now = if stage == Stage::RequestReceived { self.received } else { component_base::clock::now() };
        self.sink.write(self.line(stage, now))
    }

    /// The event as a line of JSON.
    fn line(&self, stage: Stage, now: Timestamp) -> Bytes {
        let mut event = self.event.lock().clone();
        event.stage = stage.name();
        event.stage_timestamp = api_types::time::format_micro(&now);
        // All keys are texts, so it can be written.
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

/// Tells of the end when it is dropped: the answer ended, or the client went away.
struct Complete(Arc<Record>);

impl Drop for Complete {
    fn drop(&mut self) {
        self.0.tell(Stage::ResponseComplete);
    }
}

fn watched(body: Body, complete: Complete) -> Body {
    let frames = futures::stream::unfold((body, complete), |(mut body, complete)| async move {
        let frame = body.frame().await?;
        Some((frame, (body, complete)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn reference(info: &RequestInfo) -> Reference {
    Reference {
        resource: info.resource.clone(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        api_group: info.group.clone(),
        api_version: info.version.clone(),
        subresource: info.subresource.clone(),
        ..Reference::default()
    }
}

/// Where a request says that it comes from, and at last where it does come from.
fn addresses(request: &Parts) -> Vec<String> {
    let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_address = |text: &&str| text.parse::<std::net::IpAddr>().is_ok();
    let forwarded = header("x-forwarded-for").split(',').map(str::trim).filter(is_address);
    let mut all: Vec<String> = forwarded.map(str::to_owned).collect();
    let real = Some(header("x-real-ip").trim()).filter(is_address).map(str::to_owned);
    all.extend(real.filter(|real| !all.contains(real)).into_iter().collect::<Vec<_>>());
    let peer = request.extensions.get::<PeerAddress>().map(|peer| peer.0.ip().to_canonical().to_string());
    all.extend(peer.filter(|peer| all.last() != Some(peer)).into_iter().collect::<Vec<_>>());
    all
}
