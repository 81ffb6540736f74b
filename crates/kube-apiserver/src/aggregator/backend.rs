//! One aggregated API server: requests go to it with the identity of who makes them, in headers that this server's certificate vouches for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use apiserver::{aggregation::Delegate, authn::PeerAddress, server::Body, user::UserInfo};
use async_trait::async_trait;
use bytes::Bytes;
use component_base::serving::{BoxError, full, text};
use futures::{StreamExt, stream::FuturesUnordered};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HOST, IF_NONE_MATCH, LOCATION, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls::client::ResolvesClientCert;
use serde_json::Value;
use streaming::upgrade;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::availability::Reference;
use crate::{
    cell::CoreCell,
    https::{self, Client, Connector},
    service_address::Service,
};

/// How many times at once a server is asked whether it is there (upstream's number): one answer is enough.
const ATTEMPTS: usize = 5;
/// How long an answer to this server's own questions may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// More of an answer is not read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";
/// All but the characters of a header's name; the percent sign stands for itself only as an escape.
const NOT_IN_NAMES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'(')
    .add(b')')
    .add(b',')
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// What all connections to aggregated servers have in common.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) cell: CoreCell,
    pub(super) to_endpoints: bool,
    pub(super) certificate: Option<Arc<dyn ResolvesClientCert>>,
    pub(super) rejects_redirects: bool,
    /// Carries upgraded connections.
    pub(super) tasks: TaskTracker,
}

/// The ways to it.
struct Ways {
    connector: Connector,
    client: Client<Body>,
    /// For asking whether it is there: whoever answers will do.
    trusting: Client<Body>,
}

/// See the module.
pub(super) struct Backend {
    service: Service,
    group: String,
    version: String,
    ways: Result<Ways, String>,
    available: AtomicBool,
    options: Options,
}

/// An answer to a question of this server's own.
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) tag: Option<String>,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body, if it is JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Backend {
    /// As an APIService with a service says.
    pub(super) fn new(api_service: &Value, of: &Reference, options: Options) -> Backend {
        let spec = &api_service["spec"];
        let text = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
        let service = Service {
            cell: options.cell.clone(),
            namespace: of.namespace.clone(),
            name: of.name.clone(),
            port: of.port,
            to_endpoints: options.to_endpoints,
        };
        Backend {
            group: text("group"),
            version: text("version"),
            ways: ways(spec, &service, options.certificate.as_ref()),
            available: AtomicBool::new(false),
            service,
            options,
        }
    }

    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::Relaxed);
    }

    /// Where discovery of the group version is.
    pub(super) fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    fn address(&self, path: &str) -> Result<Uri, String> {
        let Service { name, namespace, port, .. } = &self.service;
        format!("https://{name}.{namespace}.svc:{port}{path}").parse().map_err(|e: http::uri::InvalidUri| e.to_string())
    }

    /// Whether the server is there; the error says why it is not.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut attempts: FuturesUnordered<_> = (0..ATTEMPTS).map(|_| self.ask_for_discovery()).collect();
        let mut last = Err(String::new());
        while let Some(outcome) = attempts.next().await {
            last = outcome;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    async fn ask_for_discovery(&self) -> Result<(), String> {
        let ways = self.ways.as_ref().map_err(Clone::clone)?;
        let (host, port) = self.service.place()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let shown = format!("https://{host}:{port}{}", self.root());
        let user = UserInfo::new("system:kube-aggregator", &[apiserver::user::MASTERS]);
        let asked = self.ask(&ways.trusting, &self.root(), &[], &user).await;
        match asked {
            Ok(answer) if answer.code.is_success() => Ok(()),
            Ok(answer) => {
                let code = answer.code.as_u16();
                Err(format!("failing or missing response from {shown}: bad status from {shown}: {code}"))
            }
            Err(why) => Err(format!("failing or missing response from {shown}: Get {shown:?}: {why}")),
        }
    }

    /// Asks in this server's own name.
    pub(super) async fn get(&self, path: &str, headers: &[(HeaderName, &str)]) -> Result<Answer, String> {
        let ways = self.ways.as_ref().map_err(Clone::clone)?;
        self.ask(&ways.client, path, headers, &UserInfo::new("system:kube-aggregator", &[])).await
    }

    async fn ask(
        &self,
        client: &Client<Body>,
        path: &str,
        headers: &[(HeaderName, &str)],
        user: &UserInfo,
    ) -> Result<Answer, String> {
        let mut request = Request::get(self.address(path)?);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let mut request = request.body(full(Bytes::new())).map_err(|e| e.to_string())?;
        identify(request.headers_mut(), user);
        let exchange = async {
            let answer = client.request(request).await.map_err(|e| https::describe(&e))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| e.to_string())?.to_bytes();
            let tag = parts.headers.get(http::header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            Ok(Answer { code: parts.status, tag, body })
        };
        let late = |_| Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned());
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(late)
    }

    /// Passes a request on; the error is why there is no answer.
    async fn pass(&self, ways: &Ways, mut request: Request<Body>) -> Result<Response<Body>, String> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let address = self.address(&path)?;
        prepare(&mut request, &address);
        *request.version_mut() = http::Version::HTTP_11;
        if upgrade::is_upgrade_request(request.headers()) {
            *request.uri_mut() = path.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
            let connected = ways.connector.clone().call(address).await;
            let io = connected.map_err(|e| https::describe(e.as_ref()))?;
            let answer = streaming::forward(request, TokioIo::new(io), &self.options.tasks).await;
            return Ok(boxed(answer.map_err(|e| e.to_string())?));
        }
        upgrade::strip_hop_by_hop(request.headers_mut(), false);
        *request.uri_mut() = address;
        let mut answer = ways.client.request(request).await.map_err(|e| https::describe(&e))?;
        upgrade::strip_hop_by_hop(answer.headers_mut(), false);
        Ok(boxed(answer))
    }
}

#[async_trait]
impl Delegate for Backend {
    async fn proxy(&self, mut request: Request<Body>, user: &UserInfo) -> Response<Body> {
        if !self.available.load(Ordering::Relaxed) {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        let ways = match &self.ways {
            Ok(ways) => ways,
            Err(why) => return refused(StatusCode::INTERNAL_SERVER_ERROR, why),
        };
        if let Err(error) = self.service.place() {
            tracing::warn!(service = self.service.name, error, "aggregated API server can't be found");
            return refused(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        identify(request.headers_mut(), user);
        match self.pass(ways, request).await {
            Ok(answer) if self.options.rejects_redirects && is_redirect(&answer) => {
                let why = "the backend attempted to redirect this request, which is not permitted";
                let mut response = Response::new(full(why));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
            Ok(answer) => answer,
            Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {why}")),
        }
    }

    async fn openapi(&self, request: Request<Body>) -> Response<Body> {
        self.proxy(request, &UserInfo::new("system:aggregator", &[])).await
    }
}

fn ways(spec: &Value, service: &Service, certificate: Option<&Arc<dyn ResolvesClientCert>>) -> Result<Ways, String> {
    let own = |builder: rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert>| match certificate
    {
        Some(certificate) => builder.with_client_cert_resolver(Arc::clone(certificate)),
        None => builder.with_no_client_auth(),
    };
    let trusting = || -> Result<_, String> { Ok(own(https::trusting()?)) };
    let tls = match spec["insecureSkipTLSVerify"] == true {
        true => trusting()?,
        false => own(https::verifying(https::roots(spec["caBundle"].as_str().unwrap_or_default())?)?),
    };
    let connector = https::connector(Some(service.clone()), tls);
    let trusting = https::client(https::connector(Some(service.clone()), trusting()?));
    Ok(Ways { client: https::client(connector.clone()), connector, trusting })
}

fn boxed<B>(answer: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    answer.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A refusal as Go's servers write one.
fn refused(code: StatusCode, why: &str) -> Response<Body> {
    let mut response = text(code, format!("{why}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn is_redirect(answer: &Response<Body>) -> bool {
    answer.status().is_redirection() && answer.headers().contains_key(LOCATION)
}

/// Says where the request came from, and takes off what is for this server only.
fn prepare(request: &mut Request<Body>, address: &Uri) {
    let path = HeaderValue::from_str(request.uri().path());
    let host = request.headers().get(HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(request.uri().host().unwrap_or_default()).ok());
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip().to_string());
    let before = request.headers().get("x-forwarded-for").and_then(|v| v.to_str().ok()).map(|v| format!("{v}, "));
    let clients = peer.and_then(|peer| HeaderValue::from_str(&(before.unwrap_or_default() + &peer)).ok());
    let headers = request.headers_mut();
    let mut set = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    };
    set("x-forwarded-for", clients);
    set("x-forwarded-uri", path.ok());
    set("x-forwarded-host", host);
    set("x-forwarded-proto", Some(HeaderValue::from_static("https")));
    set("host", address.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()));
}

/// Puts the user into the headers in place of credentials, and of what the client wrote there.
fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let written: Vec<HeaderName> =
        headers.keys().filter(|name| is_identity(name.as_str())).cloned().chain([AUTHORIZATION]).collect();
    written.iter().for_each(|name| _ = headers.remove(name));
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    user.groups.iter().for_each(|group| add(GROUP, group));
    for (key, values) in &user.extra {
        let name = format!("{EXTRA}{}", utf8_percent_encode(key, NOT_IN_NAMES));
        values.iter().for_each(|value| add(&name, value));
    }
}

fn is_identity(name: &str) -> bool {
    matches!(name, USER | UID | GROUP) || name.starts_with(EXTRA)
}

/// The media types of aggregated discovery.
pub(super) const AGGREGATED: (HeaderName, &str) = (
    ACCEPT,
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
);
/// Plain JSON.
pub(super) const JSON: (HeaderName, &str) = (ACCEPT, "application/json");
/// Names the version that is known already.
pub(super) const KNOWN: HeaderName = IF_NONE_MATCH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_replace_credentials() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut user = UserInfo::new("jane", &["a", "b"]);
        user.uid = "7".into();
        user.extra.insert("example.com/Scopes %".into(), vec!["view".into(), "edit".into()]);
        identify(&mut headers, &user);
        let mut seen: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().expect("text"))).collect();
        seen.sort();
        let expected = [
            "accept=*/*",
            "x-remote-extra-example.com%2fscopes%20%25=edit",
            "x-remote-extra-example.com%2fscopes%20%25=view",
            "x-remote-group=a",
            "x-remote-group=b",
            "x-remote-uid=7",
            "x-remote-user=jane",
        ];
        assert_eq!(seen, expected);
    }
}
