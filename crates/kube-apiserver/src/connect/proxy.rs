//! `{pods,services,nodes}/proxy`: a reverse proxy to what listens there.
//!
//! The name may carry a scheme and a port: `https:web:8443`, `web:http`. A service's connection goes to one of its ready endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use apiserver::error::{Error, Result};
use apiserver::server::{Body, Call, Endpoint};
use async_trait::async_trait;
use component_base::serving::{full, text as text_answer};
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, LOCATION};
use http::{Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::kubelet::{Kubelet, Place};
use super::{admit, boxed, list, object, text};

/// What the name in the path is a name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Pod,
    Service,
    Node,
}

/// Answers one of the proxy subresources.
pub(super) struct Proxy {
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) target: Target,
}

/// Where a proxied request goes.
struct Backend {
    place: Place,
    tls: bool,
    /// The kubelet's own port: with the API server's certificate.
    kubelet: bool,
}

/// `[scheme:]name[:port]` taken apart.
fn split_name(text: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = text.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("", *name, ""),
        [name, port] => ("", *name, *port),
        [scheme, name, port] => (*scheme, *name, *port),
        _ => return None,
    };
    (!name.is_empty() && matches!(scheme, "" | "http" | "https")).then_some((scheme, name, port))
}

#[async_trait]
impl Endpoint for Proxy {
    async fn serve(&self, mut call: Call) -> Result<Response<Body>> {
        let kind = match self.target {
            Target::Pod => "PodProxyOptions",
            Target::Service => "ServiceProxyOptions",
            Target::Node => "NodeProxyOptions",
        };
        let mut options = json!({"kind": kind, "apiVersion": "v1"});
        if !call.info.rest.is_empty() {
            options["path"] = call.info.rest.as_str().into();
        }
        admit(&call, &options).await?;
        if !call.request.uri().path().ends_with('/')
            && call.info.rest.is_empty()
            && matches!(*call.request.method(), Method::GET | Method::HEAD)
        {
            return redirect(&call);
        }
        let name = call.info.name.clone();
        let what = match self.target {
            Target::Pod => "pod",
            Target::Service => "service",
            Target::Node => "node",
        };
        let (scheme, name, port) =
            split_name(&name).ok_or_else(|| Error::bad_request(format!("invalid {what} request {name:?}")))?;
        let backend = match self.target {
            Target::Pod => self.pod(&call, scheme, name, port).await?,
            Target::Service => self.service(&call, scheme, name, port).await?,
            Target::Node => self.node(&call, scheme, name, port).await?,
        };
        prepare(&mut call, &backend)?;
        let dialed = if backend.kubelet {
            self.kubelet.dial(&backend.place).await
        } else {
            self.kubelet.dial_other(&backend.place, backend.tls).await
        };
        let unreachable = |e: &dyn std::fmt::Display| {
            text_answer(StatusCode::SERVICE_UNAVAILABLE, format!("error trying to reach service: {e}"))
        };
        let io = match dialed {
            Ok(io) => io,
            Err(error) => return Ok(unreachable(&error)),
        };
        match streaming::forward(call.request, io, &self.kubelet.tasks).await {
            Ok(answer) => Ok(boxed(answer)),
            Err(error) => Ok(unreachable(&error)),
        }
    }
}

/// Relative links of what is proxied need a slash at the end of the path.
fn redirect(call: &Call) -> Result<Response<Body>> {
    let uri = call.request.uri();
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{}/{query}", uri.path())).map_err(Error::internal)?;
    let mut response = Response::new(full(Vec::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// Makes the request one for the backend: path behind `proxy`, host, and headers that say where it came from.
fn prepare(call: &mut Call, backend: &Backend) -> Result<()> {
    let uri = call.request.uri().clone();
    let rest = behind_proxy(uri.path(), !call.info.namespace.is_empty());
    let target = match uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    *call.request.uri_mut() = target.parse::<Uri>().map_err(|e| Error::bad_request(e.to_string()))?;
    let forwarded_host = call.request.headers().get(HOST).cloned();
    let headers = call.request.headers_mut();
    // The client's credentials are for this server.
    headers.remove(AUTHORIZATION);
    headers.insert(HOST, HeaderValue::from_str(&backend.place.authority()).map_err(Error::internal)?);
    headers.insert(
        HeaderName::from_static("x-forwarded-uri"),
        HeaderValue::from_str(uri.path()).map_err(Error::internal)?,
    );
    if let Some(host) = forwarded_host {
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
    Ok(())
}

/// The part of a path behind `…/NAME/proxy`, as it was written, so that escapes in it survive.
fn behind_proxy(path: &str, namespaced: bool) -> &str {
    let segments = if namespaced { 7 } else { 5 };
    path.match_indices('/').nth(segments).map_or("/", |(at, _)| &path[at..])
}

/// Addresses that only this machine has: proxying to them would reach the API server's own host.
fn check_address(host: &str) -> Result<()> {
    let local = host.parse::<IpAddr>().is_ok_and(|ip| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast(),
    });
    if local { Err(Error::bad_request("address not allowed")) } else { Ok(()) }
}

fn number(port: &str) -> Result<u16> {
    port.parse().map_err(|_| Error::bad_request(format!("invalid port {port:?}")))
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl Proxy {
    async fn pod(&self, call: &Call, scheme: &str, name: &str, port: &str) -> Result<Backend> {
        let pod = object(call, "pods", &call.info.namespace, name).await?;
        let host = text(&pod, "/status/podIP").to_owned();
        check_address(&host)?;
        if host.is_empty() {
            return Err(Error::new(503, "ServiceUnavailable", format!("pod {name} has no address yet")));
        }
        let tls = scheme == "https";
        let first = list(&pod, "/spec/containers")
            .iter()
            .find_map(|c| c.pointer("/ports/0/containerPort").and_then(Value::as_u64));
        let port = match (port, first) {
            ("", Some(first)) => u16::try_from(first).unwrap_or(default_port(tls)),
            ("", None) => default_port(tls),
            (given, _) => number(given)?,
        };
        Ok(Backend { place: Place { host, port }, tls, kubelet: false })
    }

    async fn service(&self, call: &Call, scheme: &str, name: &str, port: &str) -> Result<Backend> {
        let namespace = &call.info.namespace;
        let service = object(call, "services", namespace, name).await?;
        let port_name = service_port(&service, port).ok_or_else(|| {
            Error::new(503, "ServiceUnavailable", format!("no service port {port:?} found for service {name:?}"))
        })?;
        let missing = || Error::new(503, "ServiceUnavailable", format!("no endpoints available for service {name:?}"));
        let endpoints = match object(call, "endpoints", namespace, name).await {
            Ok(endpoints) => endpoints,
            Err(error) if error.is_not_found() => return Err(missing()),
            Err(error) => return Err(error),
        };
        let ready = ready_places(&endpoints, &port_name);
        if ready.is_empty() {
            return Err(missing());
        }
        let place = ready[component_base::rng::range(0..ready.len() as u64) as usize].clone();
        check_address(&place.host)?;
        Ok(Backend { place, tls: scheme == "https", kubelet: false })
    }

    async fn node(&self, call: &Call, scheme: &str, name: &str, port: &str) -> Result<Backend> {
        let place = self.kubelet.locate(call, name).await?;
        if port.is_empty() || port == place.port.to_string() {
            return Ok(Backend { place, tls: true, kubelet: true });
        }
        check_address(&place.host)?;
        Ok(Backend { place: Place { port: number(port)?, ..place }, tls: scheme == "https", kubelet: false })
    }
}

/// The name of the service's port that is asked for: by name, by number, or its only one.
fn service_port(service: &Value, wanted: &str) -> Option<String> {
    let ports = list(service, "/spec/ports");
    let name = |p: &Value| text(p, "/name").to_owned();
    if wanted.is_empty() {
        return if ports.len() == 1 { ports.first().map(name) } else { Some(String::new()) };
    }
    if let Some(named) = ports.iter().find(|p| text(p, "/name") == wanted) {
        return Some(name(named));
    }
    let by_number = ports.iter().find(|p| p["port"].as_u64().is_some_and(|n| wanted.parse() == Ok(n)));
    by_number.map(name)
}

/// Every ready address with the port of this name.
fn ready_places(endpoints: &Value, port_name: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let port = list(subset, "/ports").iter().find(|p| text(p, "/name") == port_name);
        let Some(port) = port.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else { continue };
        places.extend(list(subset, "/addresses").iter().map(|a| Place { host: text(a, "/ip").to_owned(), port }));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (name, want) in [
            ("web", Some(("", "web", ""))),
            ("web:80", Some(("", "web", "80"))),
            ("https:web:", Some(("https", "web", ""))),
            ("https:web:8443", Some(("https", "web", "8443"))),
            ("ftp:web:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ] {
            assert_eq!(split_name(name), want, "{name}");
        }
    }

    #[test]
    fn paths_behind_the_proxy() {
        assert_eq!(behind_proxy("/api/v1/namespaces/proxy/pods/a/proxy/x%2Fy/z", true), "/x%2Fy/z");
        assert_eq!(behind_proxy("/api/v1/nodes/n/proxy/", false), "/");
        assert_eq!(behind_proxy("/api/v1/nodes/n/proxy", false), "/");
    }

    #[test]
    fn services_lead_to_ready_endpoints() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        assert_eq!(service_port(&service, "81").as_deref(), Some("admin"));
        assert_eq!(service_port(&service, "http").as_deref(), Some("http"));
        assert_eq!(service_port(&service, "x"), None);
        assert_eq!(service_port(&json!({"spec": {"ports": [{"port": 80}]}}), "").as_deref(), Some(""));
        let endpoints = json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"name": "http", "port": 8080}]}]});
        assert_eq!(ready_places(&endpoints, "http"), [Place { host: "10.0.0.1".into(), port: 8080 }]);
        assert!(ready_places(&endpoints, "admin").is_empty());
    }

    #[test]
    fn local_addresses_are_refused() {
        for bad in ["127.0.0.1", "169.254.1.1", "::1"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(check_address("10.0.0.1").is_ok());
    }
}
