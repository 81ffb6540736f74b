//! A daemon's own port: HTTPS whose callers are authenticated by client certificate or TokenReview and authorized by
//! SubjectAccessReview, and plain HTTP for health.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{health::Checks, tls::PeerCertificates};

mod guard;
mod secure_port;

pub use guard::{Attributes, Guard, User};
pub use secure_port::SecurePort;

/// A client that has not ended the TLS handshake by then is gone or means harm.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The same for the head of a request, and for the pause before it: longer than clients keep connections that they don't use (90 s), so that
/// they are the ones who close them.
const HEAD: Duration = Duration::from_secs(120);
/// Requests at once on a connection of HTTP/2 (upstream's limit).
const STREAMS: u32 = 100;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A plain-text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What answers the requests of a port. The peer's certificates, if any, are in the request's extensions.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>>;
}

/// Serves `listener` until `shutdown`, then waits for open requests. Without `tls` it speaks plain HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: Arc<dyn Handler>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, handler, shutdown) = (acceptor.clone(), handler.clone(), shutdown.clone());
        connections.spawn(async move {
            match acceptor {
                None => connection(stream, peer, None, handler, shutdown).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream
                            .get_ref()
                            .1
                            .peer_certificates()
                            .map(|c| PeerCertificates(c.iter().map(|c| c.clone().into_owned()).collect()));
                        connection(stream, peer, certificates, handler, shutdown).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                },
            }
        });
    }
    connections.close();
    let _ = tokio::time::timeout(Duration::from_secs(5), connections.wait()).await;
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    certificates: Option<PeerCertificates>,
    handler: Arc<dyn Handler>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().extend_with(certificates.clone(), peer);
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

trait ExtendWith {
    fn extend_with(&mut self, certificates: Option<PeerCertificates>, peer: SocketAddr);
}

impl ExtendWith for http::Extensions {
    fn extend_with(&mut self, certificates: Option<PeerCertificates>, peer: SocketAddr) {
        self.insert(peer);
        if let Some(certificates) = certificates {
            self.insert(certificates);
        }
    }
}

/// The port of a daemon that serves nothing but health checks and metrics: `/healthz`, `/livez`, `/readyz`, `/metrics`,
/// `/version`, and what `extra` answers.
pub struct HealthPort {
    pub checks: Checks,
    /// `None`: everybody may read (plain HTTP on loopback).
    pub guard: Option<Guard>,
    /// Further read-only pages by path, for example `/configz`.
    pub extra: Vec<(&'static str, PageFn)>,
}

/// Answers for a page, given the query.
pub type PageFn = Box<dyn Fn(&str) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync>;

/// A page of plain text.
pub fn plain_page(body: impl Fn() -> String + Send + Sync + 'static) -> PageFn {
    Box::new(move |_query| {
        let response = text(StatusCode::OK, body());
        Box::pin(async move { response })
    })
}

impl HealthPort {
    async fn page(&self, path: &str, query: &str) -> Response<Body> {
        if let Some(report) = self.checks.answer(path, query) {
            return text(StatusCode::from_u16(report.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), report.body);
        }
        match path {
            "/metrics" => text(StatusCode::OK, crate::metrics::render()),
            "/version" => text(StatusCode::OK, crate::flags::VERSION),
            _ => match self.extra.iter().find(|(p, _)| *p == path) {
                Some((_, page)) => page(query).await,
                None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            },
        }
    }
}

impl Handler for HealthPort {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(async move {
            let (parts, _body) = request.into_parts();
            if let Some(guard) = &self.guard
                && let Err(refusal) = guard.check(&parts, &Attributes::non_resource(&parts)).await
            {
                return refusal;
            }
            self.page(parts.uri.path(), parts.uri.query().unwrap_or_default()).await
        })
    }
}
