//! HTTPS to webhooks: where they are and whom to trust is in their `clientConfig`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;

use crate::{cell::CoreCell, https, service_address::Service};

/// More of an answer is not read.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A version of the reviews that webhooks get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReviewVersion {
    V1,
    /// Its answers are taken more leniently.
    V1beta1,
}

impl ReviewVersion {
    pub(crate) fn of(name: &str) -> Option<ReviewVersion> {
        match name {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1beta1),
            _ => None,
        }
    }

    /// The `apiVersion` of a review of this group.
    pub(crate) fn of_group(self, group: &str) -> String {
        let version = if self == ReviewVersion::V1 { "v1" } else { "v1beta1" };
        format!("{group}/{version}")
    }
}

/// Why a question has no answer.
pub(crate) struct Unanswered {
    pub(crate) why: String,
    /// The code of the answer, or 503 where there was none.
    pub(crate) code: u16,
}

/// The way to one webhook.
pub(crate) struct Client {
    http: https::Client<Full<Bytes>>,
    url: String,
}

impl Client {
    /// As a `clientConfig` says.
    ///
    /// # Errors
    /// It leads nowhere.
    pub(crate) fn new(config: &Value, cell: &CoreCell, to_endpoints: bool) -> Result<Client, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let (url, service) = if service.is_object() {
            let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
            let (namespace, name, path) = (text(&service["namespace"]), text(&service["name"]), text(&service["path"]));
            let slash = if path.starts_with('/') { "" } else { "/" };
            let url = format!("https://{name}.{namespace}.svc:{port}{slash}{path}");
            (url, Some(Service { cell: cell.clone(), namespace, name, port, to_endpoints }))
        } else {
            (text(&config["url"]), None)
        };
        if url.is_empty() {
            return Err("webhook configuration must have either service or URL".to_owned());
        }
        let url = if url.parse::<Uri>().is_ok_and(|uri| uri.host().is_some()) {
            url
        } else {
            return Err(format!("Unparsable URL: {url}"));
        };
        let roots = https::roots(config["caBundle"].as_str().unwrap_or_default())?;
        let tls = https::verifying(roots)?.with_no_client_auth();
        let http = https::client(https::connector(service, tls));
        Ok(Client { http, url })
    }

    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn call(&self, question: &Value, timeout: Duration) -> Result<Value, Unanswered> {
        let url = format!("{}?timeout={}s", self.url, timeout.as_secs());
        let failed = |why: String| Unanswered { why: format!("Post {url:?}: {why}"), code: 503 };
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::from(question.to_string()))
            .map_err(|e| failed(e.to_string()))?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|e| failed(https::describe(&e)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|e| failed(e.to_string()))?.to_bytes()))
        };
        let answered = tokio::time::timeout(timeout, exchange).await;
        let (status, body) = answered.unwrap_or_else(|_| Err(failed("context deadline exceeded".to_owned())))?;
        if !status.is_success() {
            return Err(Unanswered { why: words(status, &body), code: status.as_u16() });
        }
        let broken = |e| Unanswered { why: format!("couldn't get version/kind; json parse error: {e}"), code: 503 };
        serde_json::from_slice(&body).map_err(broken)
    }
}

/// An answer that is none, in the words of Go clients.
fn words(status: StatusCode, body: &[u8]) -> String {
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "the server does not allow access to the requested resource".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        500.. => {
            let text = String::from_utf8_lossy(body);
            format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim())
        }
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations_lead_somewhere_or_nowhere() {
        let cell = CoreCell::default();
        for (config, expected) in [
            (json!({"url": "https://hook.example/a"}), Ok("https://hook.example/a")),
            (json!({"service": {"namespace": "n", "name": "s"}}), Ok("https://s.n.svc:443/")),
            (json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 1}}), Ok("https://s.n.svc:1/p")),
            (json!({}), Err("webhook configuration must have either service or URL")),
        ] {
            let made = Client::new(&config, &cell, false).map(|client| client.url);
            assert_eq!(made, expected.map(str::to_owned).map_err(str::to_owned), "{config}");
        }
    }
}
