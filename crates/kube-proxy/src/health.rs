//! What others may ask: whether the proxy works (`/healthz`, `/livez`), and, per service, whether this node has endpoints.

use std::{collections::BTreeMap, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use api_types::k8s_openapi::jiff::Timestamp;
use component_base::{
    clock,
    serving::{self, Body, Handler},
};
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::model::ServiceName;

/// How long the rules may lag behind a change.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Inner {
    /// When the rules were last applied.
    applied: Option<Timestamp>,
    /// Since when a change waits to be applied.
    waiting: Option<Timestamp>,
    /// Whether the node should get traffic from load balancers.
    eligible: bool,
    services: BTreeMap<ServiceName, Answer>,
}

/// A service's health check.
struct Answer {
    port: u16,
    local: usize,
    stop: CancellationToken,
}

/// The health of the proxy; clones share it.
#[derive(Clone, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Health {
    /// Health whose servers run until `shutdown`.
    #[must_use]
    pub fn new(tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let inner = Inner { eligible: true, ..Inner::default() };
        Health { inner: Arc::new(Mutex::new(inner)), tasks, shutdown }
    }

    /// The rules are up to date.
    pub fn applied(&self, at: Timestamp) {
        let mut inner = self.inner.lock();
        inner.applied = Some(at);
        inner.waiting = None;
    }

    /// A change came that is to be applied.
    pub fn changed(&self, at: Timestamp) {
        self.inner.lock().waiting.get_or_insert(at);
    }

    /// Whether the node should get traffic.
    pub fn set_eligible(&self, eligible: bool) {
        self.inner.lock().eligible = eligible;
    }

    /// Opens, changes or closes (no port) the health check of a service.
    pub fn set_service(&self, name: ServiceName, port: Option<u16>, local: usize) {
        let mut inner = self.inner.lock();
        match (inner.services.get_mut(&name), port) {
            (Some(answer), Some(port)) if answer.port == port => answer.local = local,
            (None, None) => {}
            (known, port) => {
                if let Some(answer) = known {
                    answer.stop.cancel();
                }
                inner.services.remove(&name);
                if let Some(port) = port {
                    let stop = self.shutdown.child_token();
                    inner.services.insert(name.clone(), Answer { port, local, stop: stop.clone() });
                    self.tasks.spawn(self.clone().serve_service(name, port, stop));
                }
            }
        }
    }

    async fn serve_service(self, name: ServiceName, port: u16, stop: CancellationToken) {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        match TcpListener::bind(address).await {
            Ok(listener) => serving::serve(listener, None, Arc::new(ServiceCheck { health: self, name }), stop).await,
            Err(error) => tracing::error!(service = %name, %address, %error, "cannot open the health check port"),
        }
    }

    /// Whether rules were applied, and no change waits for long.
    fn is_live(&self, now: Timestamp) -> bool {
        let inner = self.inner.lock();
        inner.applied.is_some() && inner.waiting.is_none_or(|since| now <= since + PATIENCE)
    }

    fn page(&self, path: &str) -> Response<Body> {
        let now = clock::now();
        let live = self.is_live(now);
        let (applied, eligible) = {
            let inner = self.inner.lock();
            (inner.applied, inner.eligible)
        };
        let ok = match path {
            "/healthz" => live && eligible,
            "/livez" => live,
            _ => return serving::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
        let mut body = json!({"lastUpdated": applied.map(|t| t.to_string()), "currentTime": now.to_string()});
        if path == "/healthz" {
            body["nodeEligible"] = json!(eligible);
        }
        answer(ok, &body)
    }
}

fn answer(ok: bool, body: &serde_json::Value) -> Response<Body> {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = serving::text(status, body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-content-type-options", header::HeaderValue::from_static("nosniff"));
    response
}

impl Handler for Health {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(async move { self.page(request.uri().path()) })
    }
}

struct ServiceCheck {
    health: Health,
    name: ServiceName,
}

impl Handler for ServiceCheck {
    fn handle(&self, _request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        let live = self.health.is_live(clock::now());
        let local = self.health.inner.lock().services.get(&self.name).map_or(0, |a| a.local);
        let body = json!({
            "service": {"namespace": self.name.namespace, "name": self.name.name},
            "localEndpoints": local,
            "serviceProxyHealthy": live,
        });
        let mut response = answer(local > 0 && live, &body);
        if let Ok(value) = header::HeaderValue::from_str(&local.to_string()) {
            response.headers_mut().insert("x-load-balancing-endpoint-weight", value);
        }
        Box::pin(std::future::ready(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_once_applied_and_while_nothing_waits_for_long() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let health = Health::default();
        assert!(!health.is_live(at(0)));
        health.applied(at(1));
        assert!(health.is_live(at(100_000)));
        health.changed(at(100));
        health.changed(at(150));
        assert!(health.is_live(at(160)) && !health.is_live(at(161)));
        health.applied(at(170));
        assert!(health.is_live(at(1_000)));
    }
}
