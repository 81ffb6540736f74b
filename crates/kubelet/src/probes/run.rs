//! Carries out a probe's (or a hook's) action.

use super::{grpc, http};
use crate::runtime::Runtime;
use api_types::k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use api_types::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::time::Duration;
use tokio::net::TcpStream;

/// How a probe went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should be.
    Success,
    /// The container answered badly, or not at all.
    Failure(String),
    /// The probe could not be carried out.
    Broken(String),
}

/// Where an HTTP request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpTarget {
    /// TLS without verification.
    pub tls: bool,
    /// Host to connect to.
    pub host: String,
    /// Port to connect to.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Headers of the action.
    pub headers: Vec<(String, String)>,
}

/// The number of a port given by number or by name.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => {
                let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
                named
                    .ok_or_else(|| format!("couldn't find port: {name:?} in container {:?}", container.name))?
                    .container_port
            }
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Where an httpGet action goes.
pub(crate) fn http_target(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<HttpTarget, String> {
    let path = action.path.as_deref().unwrap_or_default();
    Ok(HttpTarget {
        tls: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        host: action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
        port: port(&action.port, container)?,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        headers: action
            .http_headers
            .iter()
            .flatten()
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

/// Carries out a probe.
pub(crate) async fn probe(
    runtime: &dyn Runtime,
    container: &Container,
    id: &str,
    pod_ip: &str,
    probe: &Probe,
) -> Outcome {
    let timeout = Duration::from_secs(probe.timeout_seconds.filter(|value| *value > 0).unwrap_or(1) as u64);
    if let Some(action) = &probe.exec {
        return exec(runtime, id, action.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(action) = &probe.http_get {
        return match http_target(action, container, pod_ip) {
            Ok(target) => http::probe(&target, timeout).await,
            Err(why) => Outcome::Broken(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
        return match port(&action.port, container) {
            Ok(port) => tcp(host, port, timeout).await,
            Err(why) => Outcome::Broken(why),
        };
    }
    if let Some(action) = &probe.grpc {
        let service = action.service.as_deref().unwrap_or_default();
        return match u16::try_from(action.port) {
            Ok(port) => grpc::probe(pod_ip, port, service, timeout).await,
            Err(_) => Outcome::Broken(format!("invalid port number: {}", action.port)),
        };
    }
    Outcome::Broken(format!("missing probe handler for container {}", container.name))
}

async fn exec(runtime: &dyn Runtime, id: &str, command: Vec<String>, timeout: Duration) -> Outcome {
    let shown = format!("{:?}", command.join(" "));
    match runtime.exec_sync(id, command, timeout).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let output = [answer.stdout, answer.stderr].concat();
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.is_timeout() => Outcome::Failure(format!(
            "command timed out: {shown} timed out after {}",
            component_base::duration::format_duration(timeout)
        )),
        Err(error) => Outcome::Broken(error.to_string()),
    }
}

/// `host:port`, with brackets where needed.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A refused or failed connection in Go's words, which people search for.
pub(super) fn dial_error(address: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {why}")
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    let address = address(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(dial_error(&address, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

/// Carries out an httpGet hook: any answer below 400 is fine.
pub(crate) async fn http_hook(target: &HttpTarget, timeout: Duration) -> Result<(), String> {
    match http::probe(target, timeout).await {
        Outcome::Success => Ok(()),
        Outcome::Failure(why) | Outcome::Broken(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn targets() {
        let container: Container =
            from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap();
        let target = |action: serde_json::Value| http_target(&from_value(action).unwrap(), &container, "10.0.0.1");
        let plain = target(json!({"port": "web", "path": "healthz?x=1"})).unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.path.as_str(), plain.tls),
            ("10.0.0.1", 8080, "/healthz?x=1", false)
        );
        let tls = target(json!({"port": 8443, "scheme": "HTTPS", "host": "h"})).unwrap();
        assert_eq!((tls.host.as_str(), tls.port, tls.tls), ("h", 8443, true));
        assert!(target(json!({"port": "none"})).unwrap_err().contains("couldn't find port"));
    }

    #[tokio::test]
    async fn tcp_probe() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(tcp("127.0.0.1", port, Duration::from_secs(1)).await, Outcome::Success);
        drop(listener);
        let Outcome::Failure(why) = tcp("127.0.0.1", port, Duration::from_secs(1)).await else { panic!() };
        assert_eq!(why, format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
    }
}
