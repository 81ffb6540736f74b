//! HTTP/1.1 upgrades: asking for one, granting one, and reverse-proxying one.
//!
//! A reverse proxy of upgrades ([`forward`]) passes the request on, and when the other side switches protocols joins the two
//! connections byte by byte. It never looks inside, so SPDY and WebSocket pass alike.

use std::future::Future;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::task::TaskTracker;

/// A duplex byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
/// A duplex byte stream of a kind decided at run time (TCP, TLS, an upgraded connection).
pub type BoxedIo = Box<dyn Io>;
/// A streaming HTTP body.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// What goes wrong while upgrading a connection.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The HTTP exchange itself failed.
    #[error("upgrade request failed")]
    Http(#[source] hyper::Error),
    /// The other side answered, but did not switch protocols.
    #[error("unable to upgrade connection: {status}: {message}")]
    Rejected {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// Its body, as text.
        message: String,
    },
    /// The answer switched to a protocol nobody asked for.
    #[error("unable to upgrade connection: {0}")]
    Protocol(String),
}

/// Whether the headers ask for a change of protocol.
pub fn is_upgrade_request(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// The protocol that the headers ask to switch to, in lower case.
pub fn requested_protocol(headers: &HeaderMap) -> Option<String> {
    is_upgrade_request(headers).then_some(())?;
    headers.get(UPGRADE)?.to_str().ok().map(str::to_ascii_lowercase)
}

/// Copies bytes both ways until both sides have ended. An end of one direction is passed on as an end of that direction only, so that a
/// closed stdin does not cut off the output.
pub async fn tunnel<A: Io, B: Io>(mut a: A, mut b: B) -> std::io::Result<(u64, u64)> {
    let moved = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, 32 << 10, 32 << 10).await;
    // Either side may be gone already; what matters is that both are closed now.
    let (_, _) = (a.shutdown().await, b.shutdown().await);
    moved
}

/// Sends `request` over `io` and returns the answer. The connection is driven by a task of `tasks`; a streamed body or an upgrade keeps it alive.
pub async fn send<B>(
    io: impl Io + 'static,
    request: Request<B>,
    tasks: &TaskTracker,
) -> Result<Response<hyper::body::Incoming>, UpgradeError>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(UpgradeError::Http)?;
    tasks.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection ended");
        }
    });
    sender.send_request(request).await.map_err(UpgradeError::Http)
}

/// Sends an upgrade request over `io`; returns the answer's headers and the raw connection when the other side switches protocols.
pub async fn connect<B>(
    io: impl Io + 'static,
    request: Request<B>,
    tasks: &TaskTracker,
) -> Result<(HeaderMap, BoxedIo), UpgradeError>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    switched(send(io, request, tasks).await?).await
}

/// The raw connection behind a `101 Switching Protocols` answer; any other answer is an error that carries its body.
pub async fn switched(response: Response<hyper::body::Incoming>) -> Result<(HeaderMap, BoxedIo), UpgradeError> {
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.into_body().collect().await.map_err(UpgradeError::Http)?.to_bytes();
        return Err(UpgradeError::Rejected { status, message: String::from_utf8_lossy(&body).trim().to_owned() });
    }
    let headers = response.headers().clone();
    let upgraded = hyper::upgrade::on(response).await.map_err(UpgradeError::Http)?;
    Ok((headers, Box::new(TokioIo::new(upgraded))))
}

/// Grants the upgrade that `request` asks for: the answer to send, and the raw connection once it has been sent.
pub fn accept<B>(
    request: &mut Request<B>,
    protocol: &str,
) -> (http::response::Builder, impl Future<Output = Result<BoxedIo, hyper::Error>> + Send + use<B>) {
    let upgrade = hyper::upgrade::on(request);
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(UPGRADE, protocol);
    (response, async move { upgrade.await.map(|u| Box::new(TokioIo::new(u)) as BoxedIo) })
}

/// Headers that belong to one hop and are not passed on by a proxy (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Removes the headers that must not pass a proxy; those of an upgrade stay when `upgrading`.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, upgrading: bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .collect();
    for name in named.iter().map(HeaderName::as_str).chain(HOP_BY_HOP) {
        if !(upgrading && (name == "connection" || name == "upgrade")) {
            headers.remove(name);
        }
    }
}

/// Reverse-proxies `request` (its URI and headers already those for the other side) over `io`. A switch of protocols is passed back, and
/// the two connections are joined by a task of `tasks`; any other answer is streamed back as it is.
pub async fn forward<B>(
    mut request: Request<B>,
    io: impl Io + 'static,
    tasks: &TaskTracker,
) -> Result<Response<Body>, UpgradeError>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let upgrading = is_upgrade_request(request.headers());
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    strip_hop_by_hop(request.headers_mut(), upgrading);
    let mut response = send(io, request, tasks).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        strip_hop_by_hop(response.headers_mut(), false);
        return Ok(response.map(BodyExt::boxed));
    }
    let Some(client) = client else {
        return Err(UpgradeError::Protocol("the answer switched protocols unasked".to_owned()));
    };
    let backend = hyper::upgrade::on(&mut response);
    tasks.spawn(async move {
        match futures::future::try_join(client, backend).await {
            Ok((client, backend)) => {
                if let Err(error) = tunnel(TokioIo::new(client), TokioIo::new(backend)).await {
                    tracing::debug!(%error, "tunnel ended");
                }
            }
            Err(error) => tracing::debug!(%error, "upgrade failed after it was granted"),
        }
    });
    Ok(response.map(BodyExt::boxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn upgrade_is_recognised() {
        assert!(is_upgrade_request(&headers(&[("connection", "keep-alive, Upgrade")])));
        assert!(!is_upgrade_request(&headers(&[("connection", "keep-alive"), ("upgrade", "SPDY/3.1")])));
        assert_eq!(
            requested_protocol(&headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")])).as_deref(),
            Some("spdy/3.1")
        );
    }

    #[test]
    fn hop_headers_do_not_pass() {
        let mut h = headers(&[
            ("connection", "x-private, upgrade"),
            ("x-private", "1"),
            ("upgrade", "a"),
            ("te", "t"),
            ("accept", "y"),
        ]);
        let mut plain = h.clone();
        strip_hop_by_hop(&mut h, true);
        assert_eq!(h, headers(&[("connection", "x-private, upgrade"), ("upgrade", "a"), ("accept", "y")]));
        strip_hop_by_hop(&mut plain, false);
        assert_eq!(plain, headers(&[("accept", "y")]));
    }
}
