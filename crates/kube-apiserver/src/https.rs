//! HTTPS to those that the API server is a client of: webhooks, aggregated API servers.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use component_base::tls;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier, client::WantsClientCert};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpStream;

use crate::{connect::dial_failure, service_address::Service};

/// How long a connection is kept for further requests.
const IDLE: Duration = Duration::from_secs(90);

/// Sends requests over connections that it keeps.
pub(crate) type Client<B> = legacy::Client<Connector, B>;
/// Makes connections.
pub(crate) type Connector = HttpsConnector<Dial>;

/// A client over these connections.
pub(crate) fn client<B>(connector: Connector) -> Client<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector)
}

/// Connections to a service, or else to where a URL says. The certificate is for the URL's host.
pub(crate) fn connector(service: Option<Service>, tls: ClientConfig) -> Connector {
    // Not HTTP/2: its one connection would send all requests to one of a service's backends.
    HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(Dial(service))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())
}

/// TLS with servers whose certificates these sign.
pub(crate) fn verifying(roots: rustls::RootCertStore) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    Ok(builder()?.with_root_certificates(roots))
}

/// TLS with servers of any certificate.
pub(crate) fn trusting() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    Ok(builder()?.dangerous().with_custom_certificate_verifier(Arc::new(tls::AnyServer)))
}

/// Whom to trust: the bundle (base64 of PEM), or without one whom the system trusts.
pub(crate) fn roots(bundle: &str) -> Result<rustls::RootCertStore, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    trusted(&STANDARD.decode(bundle).map_err(|e| format!("caBundle: {e}"))?)
}

/// Whom to trust: the certificates (PEM), or without any whom the system trusts.
///
/// # Errors
/// The text has no certificate.
pub(crate) fn trusted(pem: &[u8]) -> Result<rustls::RootCertStore, String> {
    if pem.is_empty() {
        return Ok(tls::system_roots());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    if roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    Ok(roots)
}

/// What broke a connection: the innermost cause.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return tls::describe(error);
        }
        // An I/O error hides what it was made of from `source`.
        let within = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let within = within.map(|e| e as &(dyn std::error::Error + 'static));
        match within.or_else(|| cause.source()) {
            Some(source) => cause = source,
            None => return cause.to_string(),
        }
    }
}

/// Makes connections: to the service, or where the URL says.
#[derive(Clone)]
pub(crate) struct Dial(Option<Service>);

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let place = match &self.0 {
            Some(service) => service.place().map_err(std::io::Error::other),
            None => {
                let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
                Ok((host, uri.port_u16().unwrap_or(443)))
            }
        };
        Box::pin(async move {
            let (host, port) = place?;
            let connected = TcpStream::connect((host.as_str(), port)).await;
            let stream = connected.map_err(|e| dial_failure(&format!("{host}:{port}"), &e))?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
