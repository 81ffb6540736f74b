//! API clients from kubeconfig files.

mod patience;

use std::path::Path;

use kube::{
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::layer::layer_fn;

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("kubeconfig {path}")]
    Load {
        path: String,
        #[source]
        source: kube::config::KubeconfigError,
    },
    #[error("API client")]
    Client(#[source] kube::Error),
}

/// Reads the current context of the kubeconfig at `path`. `master` overrides the server's address where it is not empty.
pub async fn load(path: &Path, master: &str) -> Result<kube::Config, KubeconfigError> {
    let failed = |source| KubeconfigError::Load { path: path.display().to_string(), source };
    let file = Kubeconfig::read_from(path).map_err(failed)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?;
    if let Ok(uri) = master.parse() {
        config.cluster_url = uri;
    }
    // Watches end by the server's choice; a client-side read timeout would cut quiet ones. Others have a deadline: `patience`.
    config.read_timeout = None;
    Ok(config)
}

/// A client that names itself `user_agent` to the server, and does not wait for ever for what should have been answered.
pub fn client(mut config: kube::Config, user_agent: &str) -> Result<kube::Client, KubeconfigError> {
    install_crypto_provider();
    if let Ok(value) = http::HeaderValue::from_str(&format!("{user_agent}/{}", crate::flags::VERSION)) {
        config.headers.push((http::header::USER_AGENT, value));
    }
    let builder = ClientBuilder::try_from(config).map_err(KubeconfigError::Client)?;
    Ok(builder.with_layer(&layer_fn(patience::Patience)).build())
}

/// Makes ring the process's TLS provider; harmless when it is already.
pub fn install_crypto_provider() {
    let _already = rustls::crypto::ring::default_provider().install_default();
}
