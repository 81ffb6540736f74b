//! A key management service (KMS v2) behind a unix socket: it "encrypts" by adding a byte of the key's name.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Poll},
};

use futures::future::BoxFuture;
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, body::Body, server::NamedService};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct State {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// `EncryptRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Plain {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

/// `EncryptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Sealed {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

/// `DecryptRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Unseal {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

/// `DecryptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Unsealed {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone)]
struct Service {
    key_id: &'static str,
    encrypted: Arc<AtomicUsize>,
    decrypted: Arc<AtomicUsize>,
}

pub(crate) struct Plugin {
    service: Service,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Plugin {
    pub(crate) fn start(socket: &Path, key_id: &'static str) -> Plugin {
        // Left over by an earlier one.
        let _absent = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("a socket");
        let service = Service { key_id, encrypted: Arc::default(), decrypted: Arc::default() };
        let shutdown = CancellationToken::new();
        let connections = futures::stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(connection, _)| connection);
            Some((accepted, listener))
        });
        let server = tonic::transport::Server::builder().add_service(service.clone());
        let until = shutdown.clone();
        let serving = tokio::spawn(async move {
            tokio::select! {
                served = server.serve_with_incoming(Box::pin(connections)) => served.expect("served"),
                () = until.cancelled() => {}
            }
        });
        Plugin { service, shutdown, serving }
    }

    /// How many seeds it was given.
    pub(crate) fn encrypted(&self) -> usize {
        self.service.encrypted.load(Ordering::Relaxed)
    }

    /// How many seeds it was asked for.
    pub(crate) fn decrypted(&self) -> usize {
        self.service.decrypted.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.expect("it ends");
    }
}

// === impl Service ===

impl Service {
    fn encrypt(&self, request: Plain) -> Result<Sealed, Status> {
        if request.uid.is_empty() {
            return Err(Status::invalid_argument("no uid"));
        }
        self.encrypted.fetch_add(1, Ordering::Relaxed);
        let ciphertext = request.plaintext.iter().map(|byte| byte.wrapping_add(shift(self.key_id))).collect();
        let annotations = BTreeMap::from([("version.kms.example".to_owned(), b"1".to_vec())]);
        Ok(Sealed { ciphertext, key_id: self.key_id.to_owned(), annotations })
    }

    fn decrypt(&self, request: Unseal) -> Result<Unsealed, Status> {
        if request.uid.is_empty() || request.annotations.get("version.kms.example").is_none_or(|value| value != b"1") {
            return Err(Status::invalid_argument("no uid or annotations"));
        }
        self.decrypted.fetch_add(1, Ordering::Relaxed);
        let plaintext = request.ciphertext.iter().map(|byte| byte.wrapping_sub(shift(&request.key_id))).collect();
        Ok(Unsealed { plaintext })
    }

    async fn serve(self, request: http::Request<Body>) -> http::Response<Body> {
        match request.uri().path() {
            "/v2.KeyManagementService/Status" => {
                let state = State { version: "v2".into(), healthz: "ok".into(), key_id: self.key_id.into() };
                unary(request, move |Nothing {}| Ok(state.clone())).await
            }
            "/v2.KeyManagementService/Encrypt" => unary(request, move |request| self.encrypt(request)).await,
            "/v2.KeyManagementService/Decrypt" => unary(request, move |request| self.decrypt(request)).await,
            _ => Status::unimplemented("no such method").into_http(),
        }
    }
}

fn shift(key_id: &str) -> u8 {
    key_id.bytes().last().unwrap_or_default()
}

async fn unary<Q, A, F>(request: http::Request<Body>, answer: F) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
    F: Fn(Q) -> Result<A, Status> + Send + Sync + Clone + 'static,
{
    let method = tower::service_fn(move |request: Request<Q>| {
        let answer = answer.clone();
        async move { answer(request.into_inner()).map(Response::new) }
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(method, request).await
}

impl NamedService for Service {
    const NAME: &'static str = "v2.KeyManagementService";
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.serve(request).await) })
    }
}
