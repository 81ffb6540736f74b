//! A list in pages whose state is compacted away meanwhile, on both backends.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

use std::sync::Arc;

use history::{processes, simulated};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use storage::{
    Store,
    embedded::Embedded,
    etcd::{Etcd, EtcdConfig},
};
use tokio_util::sync::CancellationToken;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn embedded_store() {
    the_rest_can_be_had_inconsistently(Arc::new(Embedded::in_memory())).await;
}

#[tokio::test]
async fn etcd() {
    let Some(program) = processes::etcd_program() else { return };
    let cluster = processes::Cluster::on_etcd(&program, 1, 0).await.unwrap();
    let config = EtcdConfig { servers: cluster.etcd_urls.clone(), ..EtcdConfig::default() };
    the_rest_can_be_had_inconsistently(Arc::new(Etcd::connect(config).await.unwrap())).await;
}

async fn exchange(client: &kube::Client, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("Content-Type", "application/json");
    let response = client.send(request.body(Body::from(body.to_string().into_bytes())).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    (code, serde_json::from_slice(&response.into_body().collect_bytes().await.unwrap()).unwrap())
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

async fn the_rest_can_be_had_inconsistently(store: Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let config = simulated::config(dir.path()).unwrap();
    let server = kube_apiserver::run::build(&config, store.clone(), shutdown.clone()).await.unwrap();
    let client = server.loopback();
    for n in 0..5 {
        let (code, _) = exchange(&client, "POST", MAPS, json!({"metadata": {"name": format!("m-{n}")}})).await;
        assert_eq!(code, 201);
    }
    let get =
        async |token: &str| exchange(&client, "GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null).await;
    let (_, first) = get("").await;
    assert_eq!(names(&first), ["m-0", "m-1"]);
    let token = first["metadata"]["continue"].as_str().unwrap();
    // While history is there, the pages are of one state.
    exchange(&client, "DELETE", &format!("{MAPS}/m-2"), json!({})).await;
    let (_, second) = get(token).await;
    assert_eq!(names(&second), ["m-2", "m-3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    store.compact(store.revision().await.unwrap()).await.unwrap();
    let (code, expired) = get(token).await;
    assert_eq!((code, &expired["reason"]), (410, &json!("Expired")), "{expired}");
    let token = expired["metadata"]["continue"].as_str().expect("a token that goes on inconsistently");
    let (code, rest) = get(token).await;
    assert_eq!((code, names(&rest)), (200, vec!["m-3", "m-4"]));
    assert_ne!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    shutdown.cancel();
}
