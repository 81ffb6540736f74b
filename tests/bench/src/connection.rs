//! One HTTP/1.1 connection over TLS to the server under test.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server and the identity that is used with it.
#[derive(Clone)]
pub(crate) struct Target {
    /// `host:port`.
    authority: String,
    host: ServerName<'static>,
    token: Arc<str>,
    tls: TlsConnector,
}

/// A request, apart from the identity.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Media type and bytes.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Call { method: Method::GET, path: path.into(), body: None }
    }
}

impl Target {
    /// `url` is `https://host:port`; `ca` a file with the certificates to trust.
    pub(crate) fn new(url: &str, ca: &Path, token: &str) -> Result<Self> {
        let authority = url.strip_prefix("https://").context("--server wants https://host:port")?.trim_end_matches('/');
        let (host, _) = authority.rsplit_once(':').context("--server wants a port")?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).with_context(|| ca.display().to_string())? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Target {
            authority: authority.to_owned(),
            host: ServerName::try_from(host.to_owned())?,
            token: token.into(),
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.authority).await.with_context(|| self.authority.clone())?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.host.clone(), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender goes.
        let driver = tokio::task::spawn(connection.with_upgrades());
        Ok(Connection { target: self.clone(), sender, driver })
    }
}

pub(crate) struct Connection {
    target: Target,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Sends the request and returns the answer's head; a status of 400 or more is an error with the answer's text.
    pub(crate) async fn send(&mut self, call: Call) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header("host", &self.target.authority)
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {}", self.target.token));
        let mut body = Bytes::new();
        if let Some((media_type, bytes)) = call.body {
            request = request.header("content-type", media_type);
            body = bytes.into();
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        if response.status().as_u16() >= 400 {
            let status = response.status();
            let text = response.into_body().collect().await?.to_bytes();
            bail!("{} {}: {status}: {}", call.method, call.path, String::from_utf8_lossy(&text));
        }
        Ok(response)
    }

    /// Sends the request, reads the whole answer and returns its size in bytes.
    pub(crate) async fn exchange(&mut self, call: Call) -> Result<usize> {
        let mut body = self.send(call).await?.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(size)
    }

    /// Sends the request and returns the answer's JSON.
    pub(crate) async fn json(&mut self, call: Call) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.bytes(call).await?)?)
    }

    /// Sends the request and returns the answer's text.
    pub(crate) async fn text(&mut self, call: Call) -> Result<String> {
        Ok(String::from_utf8(self.bytes(call).await?.into())?)
    }

    async fn bytes(&mut self, call: Call) -> Result<Bytes> {
        Ok(self.send(call).await?.into_body().collect().await?.to_bytes())
    }
}
