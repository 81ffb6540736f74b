//! Discovery and OpenAPI against what upstream publishes, prose aside. The documents are recorded and no part of the repository; the test
//! says so when it is skipped.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use apiserver::user::UserInfo;
use component_base::flags::Flags;
use kube::Client;
use kube_apiserver::{config::Config, options, run};
use serde_json::Value;
use storage::embedded::Embedded;
use tokio_util::sync::CancellationToken;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What differs knowingly: this server gives out no log files; a marker on a field of bytes, which nobody merges by.
const KNOWN: [&str; 2] = [
    "/openapi/v3/logs",
    "/openapi/v3/apis/apiregistration.k8s.io/v1 /components/schemas/io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec\
     /properties/caBundle/x-kubernetes-list-type",
];

fn golden() -> Option<PathBuf> {
    let root = std::env::var_os("KEELSON_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"), PathBuf::from);
    if !root.join("openapi-v3").is_dir() {
        eprintln!("SKIPPED: no recorded documents at {}", root.display());
        return None;
    }
    Some(root)
}

/// The documents of a folder: path and content.
fn recorded(folder: &Path, suffix: &str) -> Vec<(String, Value)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("readable").path();
        let name = path.file_name()?.to_str()?.strip_suffix(suffix)?.replace("__", "/");
        Some((name, serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON")))
    };
    let mut all: Vec<_> = std::fs::read_dir(folder).expect("a folder").filter_map(read).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

async fn get(client: &Client, path: &str, accept: &str) -> Value {
    let request = http::Request::get(path).header("accept", accept).body(Vec::new()).expect("a request");
    let answer = client.request_text(request).await.unwrap_or_else(|error| format!("{:?}", error.to_string()));
    serde_json::from_str(&answer).unwrap_or(Value::Null)
}

/// Takes out prose and CBOR (which upstream serves behind a gate that is off by default), and writes a lone reference in one way.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_prose = |name: &str, value: &Value| name == "description" && value.is_string();
            members.retain(|name, value| !name.contains("cbor") && !is_prose(name, value));
            members.values_mut().for_each(normalize);
            let lone = members.get("allOf").and_then(Value::as_array).filter(|all| all.len() == 1);
            if let Some(reference) = lone.and_then(|all| all[0].get("$ref")).cloned() {
                members.remove("allOf");
                members.insert("$ref".to_owned(), reference);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        _ => {}
    }
}

fn compare(at: &str, theirs: &Value, ours: &Value, differences: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let none = Value::Null;
                let (a, b) = (a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none));
                compare(&format!("{at}/{name}"), a, b, differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{n}"), a, b, differences);
            }
        }
        _ if theirs == ours => {}
        _ => differences.push(format!("{at}: theirs {theirs}, ours {ours}")),
    }
}

/// A server in memory and an administrator's client; the token ends it.
async fn server(runtime_config: &str) -> (Client, CancellationToken) {
    let runtime_config = format!("--runtime-config={runtime_config}");
    let args = ["--service-cluster-ip-range=10.96.0.0/16", &runtime_config];
    let flags = Flags::parse("kube-apiserver", options::FLAGS, args).expect("flags parse");
    let config = Config::from_flags(&flags).expect("flags are valid");
    let shutdown = CancellationToken::new();
    let api = run::build(&config, Arc::new(Embedded::in_memory()), shutdown.clone()).await.expect("the server starts");
    (api.client_as(UserInfo::new("admin", &["system:masters"])), shutdown)
}

/// `api/discovery.json` is what a server publishes by default. `UPDATE_EXPECT=1` writes it anew.
#[tokio::test]
async fn the_published_api_is_written_down() {
    let (client, shutdown) = server("").await;
    let [core, groups] = [get(&client, "/api", AGGREGATED).await, get(&client, "/apis", AGGREGATED).await];
    let both = serde_json::json!({ "/api": core, "/apis": groups });
    let text = serde_json::to_string_pretty(&both).expect("JSON") + "\n";
    expect_test::expect_file!["../../../api/discovery.json"].assert_eq(&text);
    shutdown.cancel();
}

#[tokio::test]
async fn documents_are_upstreams() {
    let Some(golden) = golden() else { return };
    let (client, shutdown) = server("api/all=true").await;
    let mut differences = Vec::new();
    let documents =
        recorded(&golden.join("discovery"), ".json").into_iter().map(|(name, document)| match name.as_str() {
            "aggregated_v2" => ("/apis".to_owned(), AGGREGATED, document),
            // It says where the server is.
            "api" => ("/api".to_owned(), "application/json", Value::Null),
            _ => (format!("/{name}"), "application/json", document),
        });
    let openapi = recorded(&golden.join("openapi-v3"), "_openapi.json").into_iter();
    let openapi = openapi.map(|(name, document)| (format!("/openapi/v3/{name}"), "application/json", document));
    for (path, accept, mut theirs) in documents.chain(openapi).filter(|(_, _, document)| !document.is_null()) {
        let mut ours = get(&client, &path, accept).await;
        normalize(&mut theirs);
        normalize(&mut ours);
        compare(&format!("{path} "), &theirs, &ours, &mut differences);
    }
    differences.retain(|difference| !KNOWN.iter().any(|known| difference.starts_with(known)));
    assert!(
        differences.is_empty(),
        "{} differences, such as {:#?}",
        differences.len(),
        &differences[..differences.len().min(5)]
    );
    shutdown.cancel();
}
