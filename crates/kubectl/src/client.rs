//! HTTP to the API server: one keep-alive connection where one is enough, failures as [`Error::Status`].

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::fail;
use crate::kubeconfig::Settings;

mod tls;

/// JSON, the content type of most bodies.
pub const JSON: &str = "application/json";
/// Asks for objects as rows.
pub const TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// A client of one API server.
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    /// `host:port` of the server, as errors name it.
    pub host: String,
    headers: HeaderMap,
    timeout: Option<Duration>,
    warned: RefCell<BTreeSet<String>>,
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a parameter when there is a value for it.
    #[must_use]
    pub fn with_opt(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// Sets a parameter, instead of the value that it had.
    #[must_use]
    pub fn replacing(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|(k, _)| k != key);
        self.with(key, value)
    }

    /// The path with this query, its parameters in the order of their names.
    pub fn on(&self, path: &str) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let pairs: Vec<String> = sorted.iter().map(|(k, v)| format!("{k}={}", percent_encode(v))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// Encodes a query value or a path segment.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Client {
    /// A client for these settings. Connects when first used.
    pub fn new(settings: &Settings, timeout: Option<Duration>) -> Result<Self> {
        let base = settings.server.trim_end_matches('/').to_owned();
        let Ok(uri) = base.parse::<http::Uri>() else { fail!("invalid server URL {base:?}") };
        let Some(authority) = uri.authority() else { fail!("invalid server URL {base:?}") };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = if uri.scheme_str() == Some("https") { tls::config(settings)? } else { tls::unused()? };
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match &settings.tls_server_name {
            Some(name) => {
                let name = rustls_pki_types::ServerName::try_from(name.clone())
                    .map_err(|_| Error::Plain(format!("invalid tls-server-name {name:?}")))?;
                builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name)).enable_http1()
            }
            None => builder.enable_http1(),
        };
        Ok(Self {
            http: legacy::Client::builder(TokioExecutor::new()).build(connector.wrap_connector(tcp)),
            host: authority.to_string(),
            base,
            headers: identity_headers(settings)?,
            timeout: timeout.filter(|t| !t.is_zero()),
            warned: RefCell::default(),
        })
    }

    /// Sends a request; the answer may be any.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(own) = request.headers_mut() {
            own.extend(self.headers.clone());
            own.extend(headers.clone());
        }
        let request = request.body(Full::new(body)).map_err(|e| Error::Plain(format!("invalid request: {e}")))?;
        let answer = self.http.request(request);
        let response = match self.timeout {
            Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| {
                Error::Unreachable("net/http: request canceled (Client.Timeout exceeded while awaiting headers)".into())
            })?,
            None => answer.await,
        };
        let response = response.map_err(|e| self.failure(&e))?;
        self.print_warnings(response.headers());
        Ok(response)
    }

    /// Sends a request; an answer that is no success is an error.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response<Incoming>> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value(accept)?);
        let mut bytes = Bytes::new();
        if let Some((kind, content)) = body {
            headers.insert(CONTENT_TYPE, value(kind)?);
            bytes = content;
        }
        let verb = method.clone();
        let response = self.send(method, path, &headers, bytes).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = self.read(response).await?;
        Err(Error::Status(Box::new(failure_status(code, &verb, path, &body))))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes> {
        let body = response.into_body().collect().await;
        Ok(body.map_err(|e| Error::Plain(format!("reading the server's answer: {e}")))?.to_bytes())
    }

    /// GET as bytes.
    pub async fn get_bytes(&self, path: &str, accept: &str) -> Result<Bytes> {
        let response = self.request(Method::GET, path, accept, None).await?;
        self.read(response).await
    }

    /// GET as JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.get_as(path, JSON).await
    }

    /// GET as JSON in a form of its own (table, discovery).
    pub async fn get_as(&self, path: &str, accept: &str) -> Result<Value> {
        parse(&self.get_bytes(path, accept).await?)
    }

    /// POST, PUT, PATCH or DELETE with a JSON answer.
    pub async fn change(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value> {
        let response = self.request(method, path, JSON, Some((kind, Bytes::from(body.to_string())))).await?;
        parse(&self.read(response).await?)
    }

    /// How many different warnings the server has sent.
    pub fn warnings(&self) -> usize {
        self.warned.borrow().len()
    }

    fn print_warnings(&self, headers: &HeaderMap) {
        for text in headers.get_all(http::header::WARNING).iter().filter_map(|v| v.to_str().ok()) {
            // 299 - "text"
            let Some((_, quoted)) = text.split_once('"') else { continue };
            let text = quoted.strip_suffix('"').unwrap_or(quoted).replace("\\\"", "\"").replace("\\\\", "\\");
            if self.warned.borrow_mut().insert(text.clone()) {
                eprintln!("Warning: {text}");
            }
        }
    }

    fn failure(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let mut cause = Some(error);
        let mut last = String::new();
        while let Some(e) = cause {
            if let Some(io) = e.downcast_ref::<std::io::Error>() {
                if io.kind() == std::io::ErrorKind::ConnectionRefused {
                    return Error::Refused(self.host.clone());
                }
                if let Some(tls) = io.get_ref().and_then(|i| i.downcast_ref::<rustls::Error>()) {
                    return Error::Unreachable(tls::describe(tls));
                }
            }
            last = e.to_string();
            cause = e.source();
        }
        Error::Unreachable(last)
    }
}

/// One line of a watch, or the error that ended it.
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// Reads the lines of a streamed answer.
    pub fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next line; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
                Some(Err(e)) => fail!("reading the server's answer: {e}"),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(std::mem::take(&mut self.buffer))),
            }
        }
    }
}

/// Reads JSON from the server.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::Plain(format!("the server's answer is not JSON: {e}")))
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::Plain(format!("invalid header value {text:?}")))
}

fn identity_headers(settings: &Settings) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, value(concat!("kubectl/v1.36.0 (linux/amd64) keelson/", env!("CARGO_PKG_VERSION")))?);
    if let Some(authorization) = &settings.authorization {
        let mut value = value(authorization)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let (user, uid, groups) = &settings.impersonate;
    if let Some(user) = user {
        headers.insert(HeaderName::from_static("impersonate-user"), value(user)?);
    }
    if let Some(uid) = uid {
        headers.insert(HeaderName::from_static("impersonate-uid"), value(uid)?);
    }
    for group in groups {
        headers.append(HeaderName::from_static("impersonate-group"), value(group)?);
    }
    Ok(headers)
}

/// The `Status` of a failure: the server's own, or one made of the HTTP status as client-go makes it.
fn failure_status(code: u16, method: &Method, path: &str, body: &[u8]) -> Value {
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status["kind"] == "Status"
    {
        return status;
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    let (reason, message) = match code {
        401 => (
            "Unauthorized",
            if text.is_empty() {
                "the server has asked for the client to provide credentials".to_owned()
            } else {
                text
            },
        ),
        403 => (
            "Forbidden",
            if text.is_empty() {
                "the server does not allow access to the requested resource".to_owned()
            } else {
                text
            },
        ),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned()),
        406 => (
            "NotAcceptable",
            "the server was unable to respond with a content type that the client supports".to_owned(),
        ),
        415 => ("UnsupportedMediaType", "the server was unable to process the content type of the request".to_owned()),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned(),
        ),
        500.. => {
            ("InternalError", format!("an error on the server ({text:?}) has prevented the request from succeeding"))
        }
        _ => (
            "Unknown",
            format!("the server rejected our request for an unknown reason ({method} {path}: {code} {text})"),
        ),
    };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
}

/// The rustls provider used throughout.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
