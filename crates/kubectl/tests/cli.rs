//! The binary against a fake API server: output, files on disk and exit codes, as a user sees them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::convert::Infallible;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What was asked of the server: method, path with query, body.
type Log = Arc<Mutex<Vec<(String, String, Value)>>>;

struct Server {
    address: String,
    log: Log,
    home: tempfile::TempDir,
}

fn discovery(path: &str) -> Value {
    let resource = |name: &str, kind: &str, short: &str| {
        json!({"resource": name, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": ["get", "list", "create", "patch"],
               "shortNames": [short], "singularResource": kind.to_lowercase()})
    };
    let group = if path == "/api" {
        json!({"metadata": {}, "versions": [{"version": "v1", "resources": [resource("pods", "Pod", "po"), resource("configmaps", "ConfigMap", "cm")]}]})
    } else {
        json!({"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [resource("deployments", "Deployment", "deploy")]}]})
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [group]})
}

fn table(names: &[&str]) -> Value {
    let rows: Vec<Value> =
        names.iter().map(|n| json!({"cells": [n, "1/1"], "object": {"metadata": {"name": n}}})).collect();
    json!({"kind": "Table", "metadata": {}, "columnDefinitions": [{"name": "Name", "format": "name"}, {"name": "Ready"}], "rows": rows})
}

fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}))
}

fn answer(method: &str, path: &str, wants_table: bool, body: &Value) -> (u16, Value) {
    let plain = path.split('?').next().unwrap_or(path);
    match (method, plain) {
        ("GET", "/api" | "/apis") => (200, discovery(plain)),
        ("GET", "/api/v1/namespaces/default/pods") if path.contains("labelSelector=none") => (200, table(&[])),
        ("GET", "/api/v1/namespaces/default/pods") if wants_table => (200, table(&["a", "longer"])),
        ("GET", "/api/v1/namespaces/default/pods") => {
            (200, json!({"kind": "PodList", "items": [{"metadata": {"name": "a"}}], "metadata": {}}))
        }
        ("GET", "/api/v1/namespaces/default/configmaps/there") => (
            200,
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "there", "resourceVersion": "1"}, "data": {"old": "1"}}),
        ),
        ("GET", _) => failure(404, "NotFound", "pods \"x\" not found"),
        ("POST", _) => (201, body.clone()),
        ("PATCH", _) => (
            200,
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "there", "resourceVersion": "2"}}),
        ),
        _ => failure(403, "Forbidden", "no"),
    }
}

async fn serve(request: Request<Incoming>, log: Log) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = parts.uri.path_and_query().unwrap().to_string();
    let wants_table = parts.headers.get("accept").is_some_and(|a| a.to_str().unwrap().contains("as=Table"));
    let (code, value) = answer(parts.method.as_str(), &path, wants_table, &body);
    log.lock().unwrap().push((parts.method.to_string(), path, body));
    Ok(Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::from(value.to_string()))
        .unwrap())
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Log::default();
        let shared = Arc::clone(&log);
        // Ends with the test's runtime.
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let log = Arc::clone(&shared);
                served.spawn(async move {
                    let service = hyper::service::service_fn(move |request| serve(request, Arc::clone(&log)));
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await
                });
            }
        });
        connections.detach_all();
        Self { address, log, home: tempfile::tempdir().unwrap() }
    }

    async fn kubectl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl"));
        command.arg("--server").arg(&self.address).args(words).env("HOME", self.home.path()).env_remove("KUBECONFIG");
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    fn last(&self) -> (String, String, Value) {
        self.log.lock().unwrap().last().cloned().unwrap()
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_prints_tables_names_and_failures() {
    let server = Server::start().await;
    for (words, code, out, err) in [
        (&["get", "po"][..], 0, "NAME     READY\na        1/1\nlonger   1/1\n", ""),
        (&["get", "pods", "-o", "name"], 0, "pod/a\n", ""),
        (&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"], 0, "a", ""),
        (&["get", "pods", "-l", "none"], 0, "", "No resources found in default namespace.\n"),
        (&["get", "pod", "x"], 1, "", "Error from server (NotFound): pods \"x\" not found\n"),
        (&["get", "nopes"], 1, "", "error: the server doesn't have a resource type \"nopes\"\n"),
        (&["get", "--nope"], 1, "", "error: unknown flag: --nope\nSee 'kubectl get --help' for usage.\n"),
        (&["gte"], 1, "", "error: unknown command \"gte\" for \"kubectl\"\n\nDid you mean this?\n\tset\n\tget\n\tcp\n"),
    ] {
        let (got_code, got_out, got_err) = said(&server.kubectl(words).await);
        assert_eq!((got_code, got_out.as_str()), (code, out), "{words:?} {got_err}");
        if words[0] != "gte" {
            assert_eq!(got_err, err, "{words:?}");
        }
    }
    let cached = server.home.path().join(".kube/cache/discovery");
    assert!(cached.read_dir().unwrap().count() == 1, "discovery is cached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_creates_and_patches() {
    let server = Server::start().await;
    let file = |name: &str, text: &str| {
        let path = server.home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let new = file("new.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: b}\n");
    assert_eq!(
        said(&server.kubectl(&["apply", "-f", &new]).await),
        (0, "configmap/new created\n".into(), String::new())
    );
    let (method, path, body) = server.last();
    assert_eq!(
        (method.as_str(), path.as_str()),
        ("POST", "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply&fieldValidation=Strict")
    );
    assert!(
        body["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
            .as_str()
            .unwrap()
            .contains("\"a\":\"b\"")
    );
    let there = file("there.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: there}\ndata: {new: x}\n");
    let (code, out, err) = said(&server.kubectl(&["apply", "-f", &there]).await);
    assert_eq!((code, out.as_str()), (0, "configmap/there configured\n"), "{err}");
    assert!(err.starts_with("Warning: resource configmaps/there is missing the kubectl.kubernetes.io/last-applied-configuration annotation"), "{err}");
    assert_eq!(server.last().2["data"], json!({"new": "x"}), "what somebody else set stays");
}

#[test]
fn no_server_is_said_plainly() {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl"))
        .args(["--server", "http://127.0.0.1:9", "get", "pods"])
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(
        said(&output),
        (
            1,
            String::new(),
            "The connection to the server 127.0.0.1:9 was refused - did you specify the right host or port?\n".into()
        )
    );
}
