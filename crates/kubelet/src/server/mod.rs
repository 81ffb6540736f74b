//! The kubelet's own HTTP API: HTTPS on 10250, guarded by the API server's answers, and plain HTTP health on 10248.

mod logs;
mod pages;
mod route;
mod stats;
mod streams;

use crate::agent::Agent;
use crate::certs::{self, Purpose};
use anyhow::Context as _;
use component_base::health::{Checks, Endpoint};
use component_base::serving::{self, Attributes, Body, Guard, Handler, HealthPort, text};
use component_base::tls;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use route::Route;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Starts the servers that the configuration asks for.
pub(crate) async fn start(agent: &Arc<Agent>) -> anyhow::Result<()> {
    let config = &agent.config.server;
    let checks = checks(agent);
    if config.healthz_port != 0 {
        let address = SocketAddr::new(config.healthz_address, config.healthz_port);
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let port = HealthPort { checks: checks.clone(), guard: None, extra: Vec::new() };
        agent.tasks.spawn(serving::serve(listener, None, Arc::new(port), agent.shutdown.clone()));
    }
    if !config.enabled {
        return Ok(());
    }
    let guard = match (&agent.client, config.webhook_authz || !config.anonymous) {
        // "/*" is open: who is authenticated may do everything.
        (Some(client), _) => {
            let open = if config.webhook_authz { Vec::new() } else { vec!["/*".to_owned()] };
            Some(Guard::new(client.clone(), config.anonymous, open))
        }
        (None, false) => None,
        (None, true) => {
            tracing::warn!("standalone: the kubelet's API is not served, since nobody could be authenticated");
            return Ok(());
        }
    };
    let address = SocketAddr::new(config.address, config.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let server = Server { agent: Arc::downgrade(agent), guard, checks, stats: stats::Sampler::default() };
    agent.tasks.spawn(serve_tls(agent.clone(), listener, Arc::new(server)));
    Ok(())
}

/// Gets the certificate (which may take the API server's time) and serves.
async fn serve_tls(agent: Arc<Agent>, listener: TcpListener, server: Arc<Server>) {
    let pair = tokio::select! {
        biased;
        () = agent.shutdown.cancelled() => return,
        pair = certificate(&agent) => pair,
    };
    let config = pair.and_then(|(cert, key)| {
        let config = tls::server_config(&cert, &key, agent.config.server.client_ca.as_deref().into());
        config.context("TLS set-up of the kubelet's API")
    });
    let rotation = rotate(&agent);
    match config {
        Ok(config) => {
            let serving = serving::serve(listener, Some(Arc::new(config)), server, agent.shutdown.clone());
            tokio::select! {
                () = serving => {}
                () = rotation => {}
            }
        }
        Err(error) => tracing::error!(error = %format!("{error:#}"), "the kubelet's API is not served"),
    }
}

/// Certificate and key files: those given, one by CSR, or a self-signed pair.
async fn certificate(agent: &Agent) -> anyhow::Result<(PathBuf, PathBuf)> {
    let config = &agent.config;
    if let Some(pair) = &config.server.tls {
        return Ok(pair.clone());
    }
    let names = names(agent);
    let certs = &config.paths.certs;
    match &agent.client {
        Some(client) if config.server.tls_bootstrap => {
            let purpose = Purpose::Serving(names);
            let current = certs::current(certs, &purpose);
            if !certs::is_valid(&current) {
                let (certificate, key) = certs::request(client, &config.node.name, &purpose).await?;
                certs::store(certs, &purpose, &certificate, &key)?;
            }
            Ok((current.clone(), current))
        }
        _ => Ok(tls::self_signed(certs, "kubelet", &names)?),
    }
}

/// Keeps a serving certificate by CSR fresh; the server reads the new file by itself. An expired one is served on: clients say
/// more clearly than silence what is wrong.
async fn rotate(agent: &Agent) {
    if let (Some(client), None, true) = (&agent.client, &agent.config.server.tls, agent.config.server.tls_bootstrap) {
        let purpose = Purpose::Serving(names(agent));
        let (node, certs) = (&agent.config.node.name, &agent.config.paths.certs);
        if let Err(error) = certs::rotate(client, node, certs, &purpose, async || {}).await {
            tracing::error!(%error, "the serving certificate was not renewed");
        }
    }
    std::future::pending().await
}

/// What the serving certificate is for.
fn names(agent: &Agent) -> Vec<String> {
    std::iter::once(agent.config.node.hostname.clone()).chain(agent.node.host_ips()).collect()
}

fn checks(agent: &Arc<Agent>) -> Checks {
    let checks = Checks::with_ping();
    let weak = Arc::downgrade(agent);
    checks.add("syncloop", &[Endpoint::Healthz], move || match weak.upgrade() {
        Some(_) => Ok(()),
        None => Err("the kubelet is shutting down".into()),
    });
    checks
}

struct Server {
    /// Weak: requests that wait must not keep the agent alive.
    agent: std::sync::Weak<Agent>,
    guard: Option<Guard>,
    checks: Checks,
    stats: stats::Sampler,
}

impl Handler for Server {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(self.answer(request))
    }
}

/// What goes wrong with a request: status and text.
pub(crate) type Failure = (StatusCode, String);

fn fail<T>(status: StatusCode, message: impl Into<String>) -> Result<T, Failure> {
    Err((status, message.into()))
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let Some(agent) = self.agent.upgrade() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "the kubelet is shutting down\n");
        };
        let (parts, body) = request.into_parts();
        if let Some(refusal) = self.refuse(&parts, &agent).await {
            return refusal;
        }
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let Some(route) = Route::parse(&path) else { return text(StatusCode::NOT_FOUND, "404 page not found\n") };
        if route.is_debugging() && !agent.config.server.debugging_handlers {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n");
        }
        let request = Request::from_parts(parts, body);
        let answer = match route {
            Route::Healthz => Ok(self.health(&path, &query)),
            Route::Pods => Ok(pages::pods(&agent)),
            Route::RunningPods => pages::running_pods(&agent).await,
            Route::Configz => Ok(pages::configz(&agent)),
            Route::Metrics => Ok(pages::metrics(&agent)),
            Route::Cadvisor => stats::cadvisor(&agent).await,
            Route::ResourceMetrics => stats::resource_metrics(&agent).await,
            Route::ProbeMetrics => Ok(text(StatusCode::OK, "")),
            Route::Summary => self.stats.summary(&agent).await,
            Route::HostLogs(file) => pages::host_logs(&agent, &file).await,
            Route::ContainerLogs { namespace, pod, container } => {
                logs::container_logs(&agent, &namespace, &pod, &container, &query).await
            }
            Route::Exec(target) => streams::exec(&agent, &target, &query, request).await,
            Route::Attach(target) => streams::attach(&agent, &target, &query, request).await,
            Route::PortForward(target) => streams::port_forward(&agent, &target, &query, request).await,
            Route::Run(target) => streams::run(&agent, &target, &query).await,
        };
        answer.unwrap_or_else(|(status, message)| text(status, message + "\n"))
    }

    /// The refusal of a caller that may not do what it wants.
    async fn refuse(&self, parts: &http::request::Parts, agent: &Agent) -> Option<Response<Body>> {
        let guard = self.guard.as_ref()?;
        let verb = route::verb(parts.method.as_str());
        let mut refusal = None;
        // A finer permission is asked for first, then the one that covers everything.
        for subresource in route::subresources(parts.uri.path()) {
            let wanted = Attributes::Resource {
                verb: verb.to_owned(),
                resource: "nodes".into(),
                subresource: (*subresource).to_owned(),
                name: agent.config.node.name.clone(),
            };
            match guard.check(parts, &wanted).await {
                Ok(_) => return None,
                Err(no) => refusal = Some(no),
            }
        }
        refusal
    }

    fn health(&self, path: &str, query: &str) -> Response<Body> {
        match self.checks.answer(path, query) {
            Some(report) => {
                text(StatusCode::from_u16(report.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), report.body)
            }
            None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}
