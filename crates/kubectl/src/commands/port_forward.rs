//! `kubectl port-forward`.

use std::net::IpAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Method;
use serde_json::Value;
use streaming::portforward::{Forwarder, PROTOCOL};
use streaming::websocket;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::exec::{spdy_connection, websocket_connection};
use super::logs::pods_of;
use crate::cli::context::Context;
use crate::error::{Error, Result};
use crate::resource::Info;
use crate::resource::select;
use crate::{fail, out};

/// One pair of a local and a remote port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    local: u16,
    remote: u16,
}

/// Runs the command.
pub async fn run(cx: &Context) -> Result<()> {
    let args = cx.args();
    if args.len() < 2 {
        return Err(Error::usage("port-forward", "TYPE/NAME and list of ports are required for port-forward"));
    }
    let target = select::one(cx, &args[0], "pods").await?;
    let service = (target.resource.kind == "Service").then(|| target.object.clone());
    let pod = pods_of(cx, target).await?.into_iter().next().ok_or_else(|| Error::Plain("no pod found".to_owned()))?;
    let pairs = args[1..].iter().map(|text| pair(text, service.as_ref(), &pod.object)).collect::<Result<Vec<_>>>()?;
    let phase = pod.object["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        fail!("unable to forward port because pod is not running. Current status={phase}");
    }
    let tasks = TaskTracker::new();
    let forwarder = connect(cx, &pod, &tasks).await?;
    let (sender, connections) = mpsc::channel(16);
    listen(cx, &pairs, &sender, &tasks).await?;
    drop(sender);
    serve(forwarder, connections).await
}

/// Opens the connection to the pod: SPDY inside a WebSocket, else SPDY.
async fn connect(cx: &Context, pod: &Info, tasks: &TaskTracker) -> Result<Forwarder> {
    let path = pod.sub_path("portforward");
    let started = match websocket_connection(cx, &path, websocket::TUNNEL).await? {
        Some((io, _)) => Forwarder::start(websocket::byte_stream(io, websocket::Role::Client, tasks)),
        None => Forwarder::start(spdy_connection(cx, &path, PROTOCOL).await?),
    };
    started.map_err(|e| Error::Plain(e.to_string()))
}

/// `local:remote`, `remote`, `:remote`; names are ports of the service or of the pod's containers.
fn pair(text: &str, service: Option<&Value>, pod: &Value) -> Result<Pair> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let resolved = match service {
        Some(service) => service_port(service, pod, remote)?,
        None => match remote.parse::<u32>() {
            Ok(number) => u16::try_from(number).map_err(|_| bad_port(remote))?,
            Err(_) => named_port(pod, remote).ok_or_else(|| no_port(pod, remote))?,
        },
    };
    let local = match local {
        "" => 0,
        name if name == remote && name.parse::<u16>().is_err() => resolved,
        number => number.parse().map_err(|_| bad_port(number))?,
    };
    Ok(Pair { local, remote: resolved })
}

fn bad_port(text: &str) -> Error {
    Error::Plain(format!("error parsing port {text:?}: must be a number between 0 and 65535, or the name of a port"))
}

fn no_port(pod: &Value, name: &str) -> Error {
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    Error::Plain(format!("Pod '{pod}' does not have a named port '{name}'"))
}

fn named_port(pod: &Value, name: &str) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    ports.find(|p| p["name"] == name)?["containerPort"].as_u64()?.try_into().ok()
}

/// The port of the pod behind a port of its service.
fn service_port(service: &Value, pod: &Value, wanted: &str) -> Result<u16> {
    let ports = service["spec"]["ports"].as_array();
    let found = ports.into_iter().flatten().find(|p| crate::output::plain(&p["port"]) == wanted || p["name"] == wanted);
    let Some(found) = found else {
        fail!(
            "Service {} does not have a service port {wanted}",
            service["metadata"]["name"].as_str().unwrap_or_default()
        );
    };
    let number = |v: &Value| v.as_u64().and_then(|p| u16::try_from(p).ok());
    if service["spec"]["clusterIP"] == "None" {
        return number(&found["port"]).ok_or_else(|| bad_port(wanted));
    }
    let target = &found["targetPort"];
    let resolved = match target.as_str() {
        Some(name) => named_port(pod, name),
        None => number(target).filter(|p| *p != 0).or_else(|| number(&found["port"])),
    };
    resolved.ok_or_else(|| no_port(pod, &crate::output::plain(target)))
}

/// Opens the local ports; accepted connections go into the channel.
async fn listen(
    cx: &Context,
    pairs: &[Pair],
    sender: &mpsc::Sender<(TcpStream, Pair)>,
    tasks: &TaskTracker,
) -> Result<()> {
    let mut addresses: Vec<(IpAddr, bool)> = Vec::new();
    for word in cx.flags.list("address").iter().map(String::as_str).chain(if cx.flags.changed("address") {
        None
    } else {
        Some("localhost")
    }) {
        if word == "localhost" {
            addresses.push((IpAddr::from([127, 0, 0, 1]), true));
            addresses.push((IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16]), false));
        } else {
            let ip = word.parse().map_err(|_| Error::Plain(format!("{word} is not a valid IP")))?;
            addresses.push((ip, true));
        }
    }
    for pair in pairs {
        let mut chosen = pair.local;
        for (address, required) in &addresses {
            match TcpListener::bind((*address, chosen)).await {
                Ok(listener) => {
                    chosen = listener.local_addr()?.port();
                    out(&format!(
                        "Forwarding from {} -> {}\n",
                        std::net::SocketAddr::new(*address, chosen),
                        pair.remote
                    ));
                    tasks.spawn(accept(listener, *pair, sender.clone()));
                }
                Err(error) if *required => fail!(
                    "unable to listen on any of the requested ports: [{{{} {}}}]: {error}",
                    pair.local,
                    pair.remote
                ),
                // A machine without IPv6 still has its IPv4 port.
                Err(_) => {}
            }
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, pair: Pair, sender: mpsc::Sender<(TcpStream, Pair)>) {
    while let Ok((connection, _)) = listener.accept().await {
        if sender.send((connection, pair)).await.is_err() {
            return;
        }
    }
}

async fn serve(mut forwarder: Forwarder, mut connections: mpsc::Receiver<(TcpStream, Pair)>) -> Result<()> {
    let mut carried = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = connections.recv() => {
                let Some((connection, pair)) = accepted else { return Ok(()) };
                out(&format!("Handling connection for {}\n", connection.local_addr().map_or(pair.local, |a| a.port())));
                let work = forwarder.carry(connection, pair.remote);
                carried.push(async move { (pair, work.await) });
            }
            Some((pair, result)) = carried.next() => {
                if let Err(error) = result {
                    eprintln!("error: an error occurred forwarding {} -> {}: {error}", pair.local, pair.remote);
                }
            }
            () = forwarder.closed() => fail!("lost connection to pod"),
        }
    }
}

/// Runs `kubectl proxy`: an unauthenticated door to the API server for this machine.
pub async fn proxy(cx: &Context) -> Result<()> {
    for flag in ["www", "unix-socket", "api-prefix"] {
        if cx.flags.changed(flag) {
            fail!("--{flag} is not supported by this kubectl");
        }
    }
    cx.client()?;
    let address: IpAddr = cx
        .flags
        .text("address")
        .parse()
        .map_err(|_| Error::Plain(format!("invalid address {:?}", cx.flags.text("address"))))?;
    let port = u16::try_from(cx.flags.int("port")).map_err(|_| bad_port(cx.flags.text("port")))?;
    let listener = TcpListener::bind((address, port)).await?;
    out(&format!("Starting to serve on {}\n", listener.local_addr()?));
    let mut serving = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connection, _) = accepted?;
                serving.push(serve_proxy(cx, connection));
            }
            Some(()) = serving.next() => {}
        }
    }
}

async fn serve_proxy(cx: &Context, connection: TcpStream) {
    let service = hyper::service::service_fn(|request| pass(cx, request));
    let io = hyper_util::rt::TokioIo::new(connection);
    // A client that goes away ends its own connection only.
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
}

type ProxyBody = http_body_util::Either<hyper::body::Incoming, http_body_util::Full<bytes::Bytes>>;

async fn pass(
    cx: &Context,
    request: http::Request<hyper::body::Incoming>,
) -> std::result::Result<http::Response<ProxyBody>, hyper::Error> {
    use http_body_util::{BodyExt, Either, Full};
    let answer = |status: u16, text: String| {
        let mut response = http::Response::new(Either::Right(Full::new(bytes::Bytes::from(text))));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        response
    };
    let (parts, body) = request.into_parts();
    let host = parts.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    if let Err(why) = allowed(&parts.method, &path, host) {
        return Ok(answer(403, why));
    }
    let mut headers = parts.headers;
    streaming::upgrade::strip_hop_by_hop(&mut headers, false);
    for name in [http::header::HOST, http::header::CONTENT_LENGTH, http::header::AUTHORIZATION] {
        headers.remove(name);
    }
    let body = body.collect().await?.to_bytes();
    let sent = match cx.client() {
        Ok(client) => client.send(parts.method, &path, &headers, body).await,
        Err(error) => Err(error),
    };
    Ok(match sent {
        Ok(response) => {
            let mut response = response.map(Either::Left);
            streaming::upgrade::strip_hop_by_hop(response.headers_mut(), false);
            response
        }
        Err(error) => answer(502, error.report().0),
    })
}

/// Upstream's default filter: only local host names (against DNS rebinding), and no way into containers.
fn allowed(_: &Method, path: &str, host: &str) -> std::result::Result<(), String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    if !matches!(name, "localhost" | "127.0.0.1" | "::1") {
        return Err("Forbidden".to_owned());
    }
    let plain = path.split('?').next().unwrap_or(path);
    let segments: Vec<&str> = plain.split('/').collect();
    let into_pod = segments.contains(&"pods") && matches!(segments.last(), Some(&"exec" | &"attach"));
    if into_pod { Err("Forbidden".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 9000}]}});
        for (text, service, want) in [
            ("80", None, (80, 80)),
            ("8000:80", None, (8000, 80)),
            (":80", None, (0, 80)),
            ("http", None, (8080, 8080)),
            ("8000:http", None, (8000, 8080)),
            ("80", Some(&service), (80, 8080)),
            ("8000:web", Some(&service), (8000, 8080)),
            ("81", Some(&service), (81, 9000)),
        ] {
            let got = pair(text, service, &pod).unwrap();
            assert_eq!((got.local, got.remote), want, "{text}");
        }
        assert!(
            pair("x", None, &pod).is_err()
                && pair("99", Some(&service), &pod).is_err()
                && pair("70000", None, &pod).is_err()
        );
    }

    #[test]
    fn the_proxy_serves_only_this_machine() {
        let get = |path: &str, host: &str| allowed(&Method::GET, path, host).is_ok();
        assert!(get("/api/v1/pods", "localhost:8001") && get("/api", "[::1]:8001"));
        assert!(!get("/api/v1/pods", "evil.example:8001"));
        assert!(!get("/api/v1/namespaces/d/pods/p/exec?command=ls", "127.0.0.1:8001"));
    }
}
