//! HTTP(S) probes. Certificates are not verified, as upstream: a probe asks whether the container answers, not who it is.

use super::run::{HttpTarget, Outcome, address, dial_error};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

const MAX_REDIRECTS: usize = 10;
/// More of an answer is not read.
const MAX_BODY: usize = 10 * 1024;

pub(super) async fn probe(target: &HttpTarget, timeout: Duration) -> Outcome {
    let url = url(target);
    match tokio::time::timeout(timeout, follow(target.clone())).await {
        Ok(Ok(status)) if (200..400).contains(&status) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(why)) => Outcome::Failure(format!("Get {url:?}: {why}")),
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn url(target: &HttpTarget) -> String {
    let scheme = if target.tls { "https" } else { "http" };
    format!("{scheme}://{}{}", address(&target.host, target.port), target.path)
}

/// The status at the end of redirects within the same host; a redirect elsewhere is not followed and counts as it is.
async fn follow(mut target: HttpTarget) -> Result<u16, String> {
    for _ in 0..MAX_REDIRECTS {
        let (status, location) = once(&target).await?;
        let Some(next) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else { return Ok(status) };
        let Ok(uri) = next.parse::<Uri>() else { return Ok(status) };
        match uri.host() {
            Some(host) if host != target.host => return Ok(status),
            Some(_) => {
                target.tls = uri.scheme_str() == Some("https");
                target.port = uri.port_u16().unwrap_or(if target.tls { 443 } else { 80 });
            }
            None => {}
        }
        target.path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    Err("stopped after 10 redirects".into())
}

async fn once(target: &HttpTarget) -> Result<(u16, Option<String>), String> {
    let address = address(&target.host, target.port);
    let stream = TcpStream::connect(&address).await.map_err(|error| dial_error(&address, &error))?;
    if !target.tls {
        return exchange(stream, target).await;
    }
    let config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(component_base::tls::AnyServer))
        .with_no_client_auth();
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, target).await
}

async fn exchange<S>(stream: S, target: &HttpTarget) -> Result<(u16, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = request(target)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status().as_u16();
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // Read a part of the body, so that the server sees a client that listens; what it says does not matter.
        let _part = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        Ok((status, location))
    };
    // The connection makes progress only while it is polled; it ends with the exchange.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(error.to_string()),
    }
}

fn request(target: &HttpTarget) -> Result<Request<Empty<Bytes>>, String> {
    let mut builder = Request::get(&target.path);
    let given = |name: &str| target.headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !given("host") {
        builder = builder.header(header::HOST, address(&target.host, target.port));
    }
    if !given("user-agent") {
        builder = builder.header(header::USER_AGENT, "kube-probe/1.36");
    }
    if !given("accept") {
        builder = builder.header(header::ACCEPT, "*/*");
    }
    builder = builder.header(header::CONNECTION, "close");
    for (name, value) in target.headers.iter().filter(|(_, value)| !value.is_empty()) {
        builder = builder.header(name, value);
    }
    builder.body(Empty::new()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers each connection with the next text; returns the port and what was asked.
    async fn serve(answers: &'static [&'static str]) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = vec![0; 4096];
                let n = stream.read(&mut buffer).await.unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        };
        #[allow(clippy::disallowed_methods, reason = "joined by the test")]
        (port, tokio::spawn(server))
    }

    fn target(port: u16) -> HttpTarget {
        let headers = vec![("X-A".into(), "1".into())];
        HttpTarget { tls: false, host: "127.0.0.1".into(), port, path: "/p".into(), headers }
    }

    #[tokio::test]
    async fn statuses_and_redirects() {
        let (port, server) = serve(&[
            "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        ])
        .await;
        let limit = Duration::from_secs(5);
        assert_eq!(probe(&target(port), limit).await, Outcome::Success);
        let Outcome::Failure(why) = probe(&target(port), limit).await else { panic!() };
        assert_eq!(why, "HTTP probe failed with statuscode: 503");
        let asked = server.await.unwrap();
        assert!(
            asked[0].starts_with("GET /p ")
                && asked[0].contains("kube-probe/1.36")
                && asked[0].to_lowercase().contains("x-a: 1")
        );
        assert!(asked[1].starts_with("GET /next "));
    }
}
