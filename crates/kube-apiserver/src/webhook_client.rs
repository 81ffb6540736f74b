//! HTTPS to webhooks: where they are and whom to trust is in their `clientConfig`.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use component_base::tls;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{cell::CoreCell, connect::dial_failure, service_address::Service};

/// More of an answer is not read.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How long a connection is kept for further questions.
const IDLE: Duration = Duration::from_secs(90);

/// Why a question has no answer.
pub(crate) struct Unanswered {
    pub(crate) why: String,
    /// The code of the answer, or 503 where there was none.
    pub(crate) code: u16,
}

/// The way to one webhook.
pub(crate) struct Client {
    http: legacy::Client<HttpsConnector<Dial>, Full<Bytes>>,
    url: String,
}

impl Client {
    /// As a `clientConfig` says.
    ///
    /// # Errors
    /// It leads nowhere.
    pub(crate) fn new(config: &Value, cell: &CoreCell, to_endpoints: bool) -> Result<Client, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let (url, service) = if service.is_object() {
            let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
            let (namespace, name, path) = (text(&service["namespace"]), text(&service["name"]), text(&service["path"]));
            let slash = if path.starts_with('/') { "" } else { "/" };
            let url = format!("https://{name}.{namespace}.svc:{port}{slash}{path}");
            (url, Some(Service { cell: cell.clone(), namespace, name, port, to_endpoints }))
        } else {
            (text(&config["url"]), None)
        };
        if url.is_empty() {
            return Err("webhook configuration must have either service or URL".to_owned());
        }
        let url = if url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some()) {
            url
        } else {
            return Err(format!("Unparsable URL: {url}"));
        };
        let roots = roots(config["caBundle"].as_str().unwrap_or_default())?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Not HTTP/2: its one connection would send all questions to one of a service's backends.
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(Dial(service));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Client { http, url })
    }

    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn call(&self, question: &Value, timeout: Duration) -> Result<Value, Unanswered> {
        let url = format!("{}?timeout={}s", self.url, timeout.as_secs());
        let failed = |why: String| Unanswered { why: format!("Post {url:?}: {why}"), code: 503 };
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::from(question.to_string()))
            .map_err(|e| failed(e.to_string()))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| failed(describe(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|e| failed(e.to_string()))?.to_bytes()))
        };
        let answered = tokio::time::timeout(timeout, exchange).await;
        let (status, body) = answered.unwrap_or_else(|_| Err(failed("context deadline exceeded".to_owned())))?;
        if !status.is_success() {
            return Err(Unanswered { why: words(status, &body), code: status.as_u16() });
        }
        let broken = |e| Unanswered { why: format!("couldn't get version/kind; json parse error: {e}"), code: 503 };
        serde_json::from_slice(&body).map_err(broken)
    }
}

/// Whom to trust: the bundle (base64 of PEM), or without one whom the system trusts.
pub(crate) fn roots(bundle: &str) -> Result<rustls::RootCertStore, String> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    if bundle.is_empty() {
        return Ok(tls::system_roots());
    }
    let pem = STANDARD.decode(bundle).map_err(|e| format!("caBundle: {e}"))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    Ok(roots)
}

/// An answer that is none, in the words of Go clients.
fn words(status: StatusCode, body: &[u8]) -> String {
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "the server does not allow access to the requested resource".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        500.. => {
            let text = String::from_utf8_lossy(body);
            format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim())
        }
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
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
struct Dial(Option<Service>);

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations_lead_somewhere_or_nowhere() {
        let cell = CoreCell::default();
        for (config, expected) in [
            (json!({"url": "https://hook.example/a"}), Ok("https://hook.example/a")),
            (json!({"service": {"namespace": "n", "name": "s"}}), Ok("https://s.n.svc:443/")),
            (json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 1}}), Ok("https://s.n.svc:1/p")),
            (json!({}), Err("webhook configuration must have either service or URL")),
        ] {
            let made = Client::new(&config, &cell, false).map(|client| client.url);
            assert_eq!(made, expected.map(str::to_owned).map_err(str::to_owned), "{config}");
        }
    }
}
