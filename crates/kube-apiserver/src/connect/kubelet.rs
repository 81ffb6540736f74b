//! Reaching a node's kubelet: its address, its port, and TLS with the API server's own certificate.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use apiserver::error::{Error, Result};
use apiserver::server::Call;
use component_base::tls::AnyServer;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::Value;
use streaming::BoxedIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{list, object, text};

/// What the flags say about reaching kubelets.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// `--kubelet-certificate-authority`: without it the kubelet's certificate is not verified, as upstream.
    pub ca: Option<PathBuf>,
    /// `--kubelet-client-certificate` and `--kubelet-client-key`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `--kubelet-preferred-address-types`.
    pub address_types: Vec<String>,
    /// `--kubelet-timeout`: for connecting.
    pub timeout: Duration,
}

/// The client of all kubelets.
pub struct Kubelet {
    tls: Arc<ClientConfig>,
    /// For proxied pods and services over TLS, whose certificates nobody can verify.
    any_tls: Arc<ClientConfig>,
    address_types: Vec<String>,
    timeout: Duration,
    /// The tasks that carry connections.
    pub(super) tasks: TaskTracker,
}

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// As a URL's authority.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl Kubelet {
    /// A client; fails when a file cannot be read.
    pub fn new(options: &KubeletOptions) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let verifying = match &options.ca {
            Some(path) => builder()?.with_root_certificates(component_base::tls::read_roots(path)?),
            None => builder()?.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer)),
        };
        let tls = match &options.identity {
            Some((certificate, key)) => {
                let chain = component_base::tls::read_certificates(certificate)?;
                verifying.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
            }
            None => verifying.with_no_client_auth(),
        };
        let any_tls =
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer)).with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls),
            any_tls: Arc::new(any_tls),
            address_types: options.address_types.clone(),
            timeout: options.timeout,
            tasks: TaskTracker::new(),
        })
    }

    /// Where the kubelet of a node listens.
    pub(super) async fn locate(&self, call: &Call, node: &str) -> Result<Place> {
        let node = object(call, "nodes", "", node).await?;
        self.place_of(&node)
    }

    /// Where the kubelet of this node listens.
    pub(super) fn place_of(&self, node: &Value) -> Result<Place> {
        let host = preferred_address(node, &self.address_types).ok_or_else(|| {
            let known: Vec<String> = list(node, "/status/addresses")
                .iter()
                .map(|a| format!("{{{} {}}}", text(a, "/type"), text(a, "/address")))
                .collect();
            Error::internal(format!("no preferred addresses found; known addresses: [{}]", known.join(" ")))
        })?;
        let port =
            node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64).filter(|p| *p != 0);
        Ok(Place { host, port: port.and_then(|p| u16::try_from(p).ok()).unwrap_or(10250) })
    }

    /// An authenticated connection to a kubelet.
    pub(super) async fn dial(&self, place: &Place) -> std::io::Result<BoxedIo> {
        self.dial_tls(place, &self.tls).await
    }

    /// A connection to a pod or service.
    pub(super) async fn dial_other(&self, place: &Place, tls: bool) -> std::io::Result<BoxedIo> {
        if tls { self.dial_tls(place, &self.any_tls).await } else { Ok(Box::new(self.connect(place).await?)) }
    }

    async fn dial_tls(&self, place: &Place, config: &Arc<ClientConfig>) -> std::io::Result<BoxedIo> {
        let name = ServerName::try_from(place.host.clone()).map_err(std::io::Error::other)?;
        let tcp = self.connect(place).await?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
        Ok(Box::new(self.within(place, handshake).await?))
    }

    async fn connect(&self, place: &Place) -> std::io::Result<TcpStream> {
        let tcp = self.within(place, TcpStream::connect((place.host.as_str(), place.port))).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    }

    async fn within<T>(&self, place: &Place, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
        let authority = place.authority();
        match tokio::time::timeout(self.timeout, work).await {
            Ok(done) => done.map_err(|e| dial_failure(&authority, &e)),
            Err(_) => Err(dial_failure(&authority, &"i/o timeout")),
        }
    }
}

/// Why there is no connection, as Go puts it.
pub(crate) fn dial_failure(authority: &str, why: &dyn std::fmt::Display) -> std::io::Error {
    let why = why.to_string();
    // The system's words begin in upper case and end with a number.
    let refused = why.starts_with("Connection refused");
    let why = if refused { "connect: connection refused" } else { &why };
    std::io::Error::other(format!("dial tcp {authority}: {why}"))
}

/// The node's address of the first preferred type that it has.
fn preferred_address(node: &Value, types: &[String]) -> Option<String> {
    let addresses = list(node, "/status/addresses");
    types.iter().find_map(|wanted| {
        let found = addresses.iter().find(|a| text(a, "/type") == wanted)?;
        Some(text(found, "/address").to_owned()).filter(|a| !a.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_preferred_address_type_wins() {
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": "n1"}]}});
        let types = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(preferred_address(&node, &types(&["Hostname", "InternalIP"])).as_deref(), Some("n1"));
        assert_eq!(preferred_address(&node, &types(&["ExternalIP", "InternalIP"])).as_deref(), Some("10.0.0.1"));
        assert_eq!(preferred_address(&node, &types(&["ExternalIP"])), None);
        assert_eq!(Place { host: "::1".into(), port: 1 }.authority(), "[::1]:1");
    }
}
