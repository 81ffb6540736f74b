//! A server in memory, and what the tests do with it.

use std::sync::Arc;
use std::time::Duration;

use apiserver::{local::Local, user::UserInfo};
use component_base::flags::Flags;
use http_body_util::BodyExt;
use kube::Client;
use kube_apiserver::{config::Config, options, run};
use serde_json::{Value, json};
use storage::embedded::Embedded;
use tokio_util::sync::CancellationToken;

/// The policies' part of the API.
pub(crate) const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1";
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) struct Server {
    api: run::ApiServer,
    user: User,
    shutdown: CancellationToken,
}

impl std::ops::Deref for Server {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

/// A user of the server.
pub(crate) struct User(Client);

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(&[]).await
    }

    pub(crate) async fn with(more: &[&str]) -> Server {
        let mut args = vec!["--service-cluster-ip-range=10.96.0.0/28", "--advertise-address=192.0.2.10"];
        args.extend(more);
        let flags = Flags::parse("kube-apiserver", options::FLAGS, args).expect("flags parse");
        let config = Config::from_flags(&flags).expect("flags are valid");
        Server::of(config).await.expect("the server starts")
    }

    /// Whether a server starts with these arguments.
    pub(crate) async fn starts(args: &[&str]) -> bool {
        let all = [&["--service-cluster-ip-range=10.96.0.0/28", "--advertise-address=192.0.2.10"], args].concat();
        let flags = Flags::parse("kube-apiserver", options::FLAGS, all).expect("flags parse");
        match Config::from_flags(&flags) {
            Ok(config) => match Server::of(config).await {
                Ok(server) => {
                    server.stop().await;
                    true
                }
                Err(_) => false,
            },
            Err(_) => false,
        }
    }

    async fn of(config: Config) -> anyhow::Result<Server> {
        let shutdown = CancellationToken::new();
        let store = Arc::new(Embedded::in_memory());
        let api = run::build(&config, store, shutdown.clone()).await?;
        let client = api.client_as(UserInfo::new("admin", &["system:masters"]));
        Ok(Server { api, user: User(client), shutdown })
    }

    pub(crate) fn as_user(&self, name: &str) -> User {
        User(self.api.client_as(UserInfo::new(name, &["system:authenticated"])))
    }

    /// The server for a port: who asks it has to authenticate.
    pub(crate) fn local(&self) -> Local {
        Local::new(Arc::clone(&self.api.server), None)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.api.tasks.close();
        self.api.tasks.wait().await;
    }
}

impl User {
    /// A strategic merge patch.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Value> {
        self.send("PATCH", path, "application/strategic-merge-patch+json", body).await
    }

    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Result<Value, Value> {
        self.send("PATCH", path, "application/merge-patch+json", body).await
    }

    pub(crate) async fn apply(&self, path: &str, body: &Value) -> Result<Value, Value> {
        self.send("PATCH", path, "application/apply-patch+yaml", body).await
    }

    pub(crate) async fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        self.send(method, path, "application/json", body).await
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Result<Value, Value> {
        let request = http::Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.body(body.to_string().into_bytes()).expect("request");
        self.0.request(request).await.map_err(|error| match error {
            kube::Error::Api(status) => serde_json::to_value(*status).expect("status"),
            other => panic!("no API error: {other}"),
        })
    }

    /// Code and text of an answer that may be no object.
    pub(crate) async fn fetch(&self, path: &str, accept: &str) -> (u16, String) {
        let request = http::Request::get(path).header("accept", accept).body(kube::client::Body::empty());
        let answer = self.0.send(request.expect("request")).await.expect("an answer");
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    /// The code of the answer to a request with these headers.
    pub(crate) async fn acting(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(kube::client::Body::empty()).expect("request");
        self.0.send(request).await.expect("an answer").status().as_u16()
    }

    /// The objects of an answer that goes on.
    pub(crate) async fn lines(&self, path: &str) -> Lines {
        let request = http::Request::get(path).body(kube::client::Body::empty()).expect("request");
        let answer = self.0.send(request).await.expect("an answer");
        Lines { body: answer.into_body(), text: Vec::new() }
    }

    /// The text at a path.
    pub(crate) async fn text(&self, path: &str) -> String {
        let request = http::Request::get(path).body(Vec::new()).expect("request");
        self.0.request_text(request).await.expect("a text")
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        self.request("POST", path, &body).await.unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// The refusal of a creation.
    pub(crate) async fn refused(&self, path: &str, body: Value) -> Value {
        self.request("POST", path, &body).await.expect_err("is refused")
    }

    /// Retries a dry run until what comes out is as wanted: policies come into force when the caches have them.
    pub(crate) async fn until(&self, path: &str, body: &Value, wanted: impl Fn(&Result<Value, Value>) -> bool) {
        let path = format!("{path}?dryRun=All");
        let attempts = async {
            while !wanted(&self.request("POST", &path, body).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), attempts).await.expect("the policy comes into force");
    }
}

/// An answer that goes on, with an object in each line.
pub(crate) struct Lines {
    body: kube::client::Body,
    text: Vec<u8>,
}

impl Lines {
    pub(crate) async fn next(&mut self) -> Value {
        let line = async {
            loop {
                if let Some(at) = self.text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.text.drain(..=at).collect();
                    return serde_json::from_slice(&line).expect("JSON");
                }
                let frame = self.body.frame().await.expect("more").expect("a frame");
                self.text.extend_from_slice(frame.data_ref().expect("data"));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), line).await.expect("an object")
    }
}

/// A rule about creating and updating config maps.
pub(crate) fn config_maps() -> Value {
    json!({"resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"]}]})
}

pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}
