//! A key management service behind a unix socket: KMS v2 over gRPC. Field numbers are those of upstream's `kms/apis/v2/api.proto`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use async_trait::async_trait;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use storage::encryption::envelope::{KeyService, Status, Wrapped};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    /// Of this request, for logs.
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

/// Connects when it is first asked, and again whenever the connection is lost.
pub(super) struct Client {
    channel: Channel,
    /// Of one call.
    timeout: Duration,
}

impl Client {
    /// `endpoint` is `unix:///path`.
    ///
    /// # Errors
    /// If it is no path.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Result<Client> {
        let path = endpoint.strip_prefix("unix://").unwrap_or_default();
        if !path.starts_with('/') || path.starts_with("/@") {
            bail!("endpoint {endpoint:?}: only sockets with a path (unix:///path) are supported");
        }
        let path = PathBuf::from(path);
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Ok(Client { channel, timeout })
    }

    async fn call<Q, A>(&self, method: &'static str, request: Q) -> std::result::Result<A, String>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let told = |status: tonic::Status| format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let calling = async {
            let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
            client.ready().await.map_err(unavailable)?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            client.unary(tonic::Request::new(request), PathAndQuery::from_static(method), codec).await
        };
        match tokio::time::timeout(self.timeout, calling).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(told),
            Err(_) => Err(told(tonic::Status::deadline_exceeded("context deadline exceeded"))),
        }
    }
}

fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[async_trait]
impl KeyService for Client {
    async fn status(&self) -> std::result::Result<Status, String> {
        let answer = self.call("/v2.KeyManagementService/Status", StatusRequest {}).await?;
        let StatusResponse { version, healthz, key_id } = answer;
        Ok(Status { version, healthz, key_id })
    }

    async fn encrypt(&self, plaintext: &[u8]) -> std::result::Result<Wrapped, String> {
        let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: uid() };
        let answer = self.call("/v2.KeyManagementService/Encrypt", request).await?;
        let EncryptResponse { ciphertext, key_id, annotations } = answer;
        Ok(Wrapped { ciphertext, key_id, annotations })
    }

    async fn decrypt(&self, wrapped: &Wrapped) -> std::result::Result<Vec<u8>, String> {
        let Wrapped { ciphertext, key_id, annotations } = wrapped.clone();
        let request = DecryptRequest { ciphertext, uid: uid(), key_id, annotations };
        let answer: DecryptResponse = self.call("/v2.KeyManagementService/Decrypt", request).await?;
        Ok(answer.plaintext)
    }
}
