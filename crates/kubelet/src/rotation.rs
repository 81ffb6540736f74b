//! A client of the API server whose certificate can be replaced while it is in use.

use crate::certs::{self, Purpose};
use component_base::kubeconfig;
use kube::client::Body;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The client in use; requests already under way end on the one they began with.
#[derive(Clone)]
pub struct Rotating {
    kubeconfig: PathBuf,
    current: Arc<RwLock<kube::Client>>,
}

impl Rotating {
    /// A client by the kubeconfig.
    pub async fn new(path: &Path) -> anyhow::Result<Self> {
        let current = Arc::new(RwLock::new(connect(path).await?));
        Ok(Self { kubeconfig: path.to_owned(), current })
    }

    /// A client that always uses the newest certificate.
    pub fn client(&self) -> kube::Client {
        let current = self.current.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let client = current.read().clone();
            async move { client.send(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Renews the certificate in time, again and again; an error when it has run out.
    pub async fn rotate(&self, node: &str, certs: &Path) -> anyhow::Result<()> {
        let renewed = async || match connect(&self.kubeconfig).await {
            Ok(client) => *self.current.write() = client,
            Err(error) => tracing::error!(error = %format!("{error:#}"), "the new client certificate is unusable"),
        };
        certs::rotate(&self.client(), node, certs, &Purpose::Client, renewed).await
    }
}

async fn connect(path: &Path) -> anyhow::Result<kube::Client> {
    Ok(kubeconfig::client(kubeconfig::load(path, "").await?, "kubelet")?)
}
