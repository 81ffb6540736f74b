//! A webhook server over HTTPS that answers as a test says.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use component_base::{
    serving::{Body, Handler, serve, text},
    tls::{self, ClientCertificates},
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

type Decide = dyn Fn(&str, &Value) -> (u16, Value) + Send + Sync;

/// A server over HTTPS with a certificate of its own.
pub(crate) struct Https {
    pub(crate) address: SocketAddr,
    /// Its certificate, PEM.
    pub(crate) pem: String,
    shutdown: CancellationToken,
    _files: tempfile::TempDir,
}

impl Https {
    pub(crate) async fn start(handler: impl Handler) -> Https {
        let files = tempfile::tempdir().expect("directory");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let (cert, key) = tls::self_signed(files.path(), "webhook", &names).expect("certificate");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let config = tls::server_config(&cert, &key, ClientCertificates::Ignored).expect("TLS");
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, Some(Arc::new(config)), Arc::new(handler), shutdown.clone()));
        let pem = std::fs::read_to_string(&cert).expect("certificate");
        Https { address, pem, shutdown, _files: files }
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A webhook server: answers what `decide` makes of path and request, with the review's identity.
pub(crate) struct Webhooks {
    pub(crate) address: SocketAddr,
    pub(crate) bundle: String,
    pub(crate) asked: Arc<Mutex<Vec<(String, Value)>>>,
    _server: Https,
}

struct Answering {
    decide: Box<Decide>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Handler for Answering {
    fn handle(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(async move {
            let path = request.uri().to_string();
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let review: Value = serde_json::from_slice(&body).expect("JSON");
            let (code, mut response) = (self.decide)(&path, &review["request"]);
            self.asked.lock().expect("lock").push((path.clone(), review.clone()));
            if path.starts_with("/slow") {
                std::future::pending::<()>().await;
            }
            if response.get("uid").is_none() {
                response["uid"] = review["request"]["uid"].clone();
            }
            let answer = json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response});
            text(StatusCode::from_u16(code).expect("a code"), answer.to_string())
        })
    }
}

impl Webhooks {
    pub(crate) async fn start(decide: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) -> Webhooks {
        let asked = Arc::default();
        let server = Https::start(Answering { decide: Box::new(decide), asked: Arc::clone(&asked) }).await;
        Webhooks { address: server.address, bundle: STANDARD.encode(&server.pem), asked, _server: server }
    }

    /// A webhook at this path for config maps, with what else is said of it.
    pub(crate) fn hook(&self, name: &str, path: &str, more: Value) -> Value {
        let url = format!("https://{}{path}", self.address);
        let mut hook = json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"url": url, "caBundle": self.bundle},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            hook[field] = value.clone();
        }
        hook
    }

    /// The questions at a path.
    pub(crate) fn asked(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock().expect("lock");
        asked.iter().filter(|(at, _)| at.starts_with(path)).map(|(_, review)| review.clone()).collect()
    }
}
