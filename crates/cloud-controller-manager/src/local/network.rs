//! Kernel routes, of the host and of nodes' namespaces. The only place that runs `ip`.

use std::{net::Ipv4Addr, path::Path};

use async_trait::async_trait;
use cloud_provider::CloudError;
use serde::Deserialize;
use tokio::process::Command;

/// Marks our routes among others (`proto` in `ip route`).
const PROTOCOL: &str = "75";

/// What went wrong with the network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The program could not be run.
    #[error("cannot run {command}")]
    Run {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program failed.
    #[error("{command}: {message}")]
    Failed {
        /// The command line.
        command: String,
        /// What it said.
        message: String,
    },
}

impl From<NetworkError> for CloudError {
    fn from(error: NetworkError) -> Self {
        CloudError::with(error.to_string(), error)
    }
}

/// Routing tables: of the host (`None`), or of a namespace.
#[async_trait]
pub trait Network: Send + Sync {
    /// Our routes: destination and gateway.
    async fn routes(&self, namespace: Option<&Path>) -> Result<Vec<(String, Ipv4Addr)>, NetworkError>;
    /// Sets the route to a destination.
    async fn replace(&self, namespace: Option<&Path>, destination: &str, via: Ipv4Addr) -> Result<(), NetworkError>;
    /// Removes our route to a destination.
    async fn delete(&self, namespace: Option<&Path>, destination: &str) -> Result<(), NetworkError>;
    /// Whether `GET path` at the address is answered with 200.
    async fn answers(&self, address: Ipv4Addr, port: u16, path: &str) -> bool;
}

/// The real thing.
#[derive(Clone, Copy, Debug)]
pub struct Ip;

#[derive(Deserialize)]
struct Shown {
    dst: String,
    gateway: Option<Ipv4Addr>,
}

async fn ip(namespace: Option<&Path>, arguments: &[&str]) -> Result<Vec<u8>, NetworkError> {
    let mut words: Vec<String> = Vec::new();
    if let Some(namespace) = namespace {
        words.extend(["nsenter".to_owned(), format!("--net={}", namespace.display())]);
    }
    words.push("ip".to_owned());
    words.extend(arguments.iter().map(|a| (*a).to_owned()));
    let command = words.join(" ");
    let output = Command::new(&words[0]).args(&words[1..]).kill_on_drop(true).output().await;
    let output = output.map_err(|source| NetworkError::Run { command: command.clone(), source })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(NetworkError::Failed { command, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

#[async_trait]
impl Network for Ip {
    async fn routes(&self, namespace: Option<&Path>) -> Result<Vec<(String, Ipv4Addr)>, NetworkError> {
        let arguments = ["-j", "-4", "route", "show", "proto", PROTOCOL];
        let text = ip(namespace, &arguments).await?;
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        let shown: Vec<Shown> = serde_json::from_slice(&text)
            .map_err(|error| NetworkError::Failed { command: arguments.join(" "), message: error.to_string() })?;
        let full = |dst: String| if dst.contains('/') { dst } else { format!("{dst}/32") };
        Ok(shown.into_iter().filter_map(|r| Some((full(r.dst), r.gateway?))).collect())
    }

    async fn replace(&self, namespace: Option<&Path>, destination: &str, via: Ipv4Addr) -> Result<(), NetworkError> {
        ip(namespace, &["route", "replace", destination, "via", &via.to_string(), "proto", PROTOCOL]).await.map(drop)
    }

    async fn delete(&self, namespace: Option<&Path>, destination: &str) -> Result<(), NetworkError> {
        match ip(namespace, &["route", "del", destination, "proto", PROTOCOL]).await {
            Err(NetworkError::Failed { message, .. }) if message.contains("No such process") => Ok(()),
            result => result.map(drop),
        }
    }

    async fn answers(&self, address: Ipv4Addr, port: u16, path: &str) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect((address, port)).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
            let mut head = [0u8; 12];
            stream.read_exact(&mut head).await?;
            Ok::<_, std::io::Error>(head.ends_with(b" 200"))
        };
        let asked = tokio::time::timeout(std::time::Duration::from_secs(1), ask).await;
        matches!(asked, Ok(Ok(true)))
    }
}
