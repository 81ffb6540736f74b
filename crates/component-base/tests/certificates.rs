//! Client certificates on a real connection.

#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use component_base::{
    serving::{Body, Handler, serve, text},
    tls::{self, PeerCertificates},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers how many certificates the client presented.
struct Count;

impl Handler for Count {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        let count = request.extensions().get::<PeerCertificates>().map_or(0, |chain| chain.0.len());
        Box::pin(async move { text(StatusCode::OK, count.to_string()) })
    }
}

async fn answer(address: SocketAddr, config: rustls::ClientConfig) -> String {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(driver);
    let request = Request::get("/").header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_strangers_certificate_reaches_the_handler() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = ["localhost".to_owned()];
    let (cert, key) = tls::self_signed(dir.path(), "server", &hosts).unwrap();
    let (theirs, their_key) = tls::self_signed(dir.path(), "stranger", &hosts).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let config = tls::server_config(&cert, &key, tls::ClientCertificates::Any).unwrap();
    let server = tokio::spawn(serve(listener, Some(Arc::new(config)), Arc::new(Count), shutdown.clone()));

    let client = || rustls::ClientConfig::builder().with_root_certificates(tls::read_roots(&cert).unwrap());
    assert_eq!(answer(address, client().with_no_client_auth()).await, "0");
    let chain: Vec<CertificateDer<'static>> = tls::read_certificates(&theirs).unwrap();
    let private = PrivateKeyDer::from_pem_file(&their_key).unwrap();
    assert_eq!(answer(address, client().with_client_auth_cert(chain, private).unwrap()).await, "1");
    shutdown.cancel();
    server.await.unwrap();
}
