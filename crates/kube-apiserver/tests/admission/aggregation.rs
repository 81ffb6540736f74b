//! Aggregated API servers, with real ones behind: another server of this kind, and one that only has what the oldest need.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use component_base::{
    serving::{Body, Handler, full, serve},
    tls::{self, ClientCertificates},
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::server::Server;

const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// The files that make one server trust the other's word on who a user is.
struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Keys {
        let dir = tempfile::tempdir().expect("directory");
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "front-proxy-ca");
        let ca_key = KeyPair::generate().expect("key");
        let ca_pem = ca.self_signed(&ca_key).expect("certificate").pem();
        let mut leaf = CertificateParams::new(Vec::new()).expect("parameters");
        leaf.distinguished_name.push(DnType::CommonName, "front-proxy-client");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("key");
        let issuer = Issuer::new(ca, ca_key);
        let files = [
            ("ca.crt", ca_pem),
            ("client.crt", leaf.signed_by(&key, &issuer).expect("certificate").pem()),
            ("client.key", key.serialize_pem()),
            ("tokens.csv", "token-of-jane,jane,7,\"staff\"\n".to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("file");
        }
        Keys { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The server that clients talk to.
    async fn front(&self) -> Server {
        let (cert, key) = (self.path("client.crt"), self.path("client.key"));
        Server::with(&[
            &format!("--proxy-client-cert-file={cert}"),
            &format!("--proxy-client-key-file={key}"),
            &format!("--token-auth-file={}", self.path("tokens.csv")),
        ])
        .await
    }

    /// The server behind it.
    async fn back(&self) -> Server {
        Server::with(&[
            &format!("--requestheader-client-ca-file={}", self.path("ca.crt")),
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-uid-headers=X-Remote-Uid",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        ])
        .await
    }

    /// Certificate and key of the service `sample-api`.
    fn serving(&self) -> (PathBuf, PathBuf) {
        let names = ["sample-api.default.svc".to_owned()];
        tls::self_signed(self.dir.path(), "serving", &names).expect("certificate")
    }

    fn bundle(&self) -> String {
        STANDARD.encode(std::fs::read(self.serving().0).expect("certificate"))
    }
}

/// A running port.
struct Port {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Port {
    async fn open(at: &str, handler: Arc<dyn Handler>, tls: Option<(&Path, &Path)>) -> Port {
        let listener = TcpListener::bind(at).await.expect("port");
        let address = listener.local_addr().expect("address");
        let config =
            tls.map(|(cert, key)| Arc::new(tls::server_config(cert, key, ClientCertificates::Any).expect("TLS")));
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, config, handler, shutdown.clone()));
        Port { address, shutdown, serving }
    }

    async fn close(self) {
        self.shutdown.cancel();
        // Connections that are kept for more requests would hold it.
        self.serving.abort();
        let _ended = self.serving.await;
    }
}

fn api_service(group: &str, version: &str, port: u16, bundle: &str) -> Value {
    json!({"metadata": {"name": format!("{version}.{group}")}, "spec": {
        "group": group, "version": version, "groupPriorityMinimum": 2000, "versionPriority": 200, "caBundle": bundle,
        "service": {"namespace": "default", "name": "sample-api", "port": port},
    }})
}

/// A service that leads out of the cluster, to this machine.
fn outside() -> Value {
    json!({"metadata": {"name": "sample-api"}, "spec": {"type": "ExternalName", "externalName": "127.0.0.1"}})
}

/// Waits until the APIService's condition has this reason; answers its message.
async fn until(server: &Server, name: &str, reason: &str) -> String {
    let wait = async {
        loop {
            let object =
                server.request("GET", &format!("{API_SERVICES}/{name}"), &Value::Null).await.unwrap_or_default();
            let condition = &object["status"]["conditions"][0];
            if condition["type"] == "Available" && condition["reason"] == reason {
                return condition["message"].as_str().unwrap_or_default().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{name} becomes {reason}"))
}

/// Lets the server look again, by a change of the service.
async fn touch(server: &Server) {
    let stamp = component_base::rng::uuid();
    let path = format!("{SERVICES}/sample-api");
    server.merge(&path, &json!({"metadata": {"annotations": {"touched": stamp}}})).await.expect("is patched");
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The entry of a group version in aggregated discovery.
async fn discovered(server: &Server, group: &str) -> Value {
    let (_, text) = server.fetch("/apis", AGGREGATED).await;
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let mut groups = document["items"].as_array().expect("groups").iter();
    groups.find(|g| g["metadata"]["name"] == group).expect("the group")["versions"][0].clone()
}

#[tokio::test]
async fn another_api_server_is_part_of_this_one() {
    let keys = Keys::new();
    let (front, back) = (keys.front().await, keys.back().await);
    let (cert, key) = keys.serving();
    let port = Port::open("127.0.0.1:0", Arc::new(back.local()), Some((&cert, &key))).await;
    let number = port.address.port();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"metadata": {"name": "flunders.wardle.example.com"}, "spec": {
        "group": "wardle.example.com", "scope": "Namespaced",
        "names": {"plural": "flunders", "singular": "flunder", "kind": "Flunder", "listKind": "FlunderList"},
        "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": schema}],
    }});
    back.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await;
    let flunder = |name: &str| json!({"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": name}});
    back.until(FLUNDERS, &flunder("probe"), Result::is_ok).await;

    let name = "v1alpha1.wardle.example.com";
    front.create(API_SERVICES, api_service("wardle.example.com", "v1alpha1", number, &keys.bundle())).await;
    assert_eq!(until(&front, name, "ServiceNotFound").await, "service/sample-api in \"default\" is not present");
    for path in [FLUNDERS, "/apis/wardle.example.com/v1alpha1"] {
        assert_eq!(front.fetch(path, "*/*").await, (503, "service unavailable\n".to_owned()));
    }
    assert_eq!(discovered(&front, "wardle.example.com").await, json!({"version": "v1alpha1", "freshness": "Stale"}));
    front.create(SERVICES, outside()).await;
    assert_eq!(until(&front, name, "Passed").await, "all checks passed");

    // Discovery names it where its priority puts it.
    let groups = front.request("GET", "/apis", &Value::Null).await.expect("groups");
    let groups: Vec<&str> =
        groups["groups"].as_array().expect("groups").iter().filter_map(|g| g["name"].as_str()).collect();
    assert_eq!((groups[0], groups.last()), ("apiregistration.k8s.io", Some(&"wardle.example.com")));
    let group = front.request("GET", "/apis/wardle.example.com", &Value::Null).await.expect("a group");
    assert_eq!(group["preferredVersion"]["groupVersion"], "wardle.example.com/v1alpha1");
    let entry = discovered(&front, "wardle.example.com").await;
    assert_eq!((&entry["freshness"], &entry["resources"][0]["resource"]), (&json!("Current"), &json!("flunders")));
    let list = front.request("GET", "/apis/wardle.example.com/v1alpha1", &Value::Null).await.expect("a list");
    assert_eq!(list["resources"][0]["kind"], "Flunder");
    let index = front.request("GET", "/openapi/v3", &Value::Null).await.expect("an index");
    let at = index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].as_str().expect("a document");
    let document = front.request("GET", at, &Value::Null).await.expect("a document");
    assert!(document["components"]["schemas"]["com.example.wardle.v1alpha1.Flunder"].is_object(), "{at}");

    // All verbs.
    let made = front.create(FLUNDERS, flunder("one")).await;
    assert_eq!(
        (&made["kind"], back.request("GET", &format!("{FLUNDERS}/one"), &Value::Null).await.is_ok()),
        (&json!("Flunder"), true)
    );
    let changed =
        front.merge(&format!("{FLUNDERS}/one"), &json!({"spec": {"reference": "x"}})).await.expect("is patched");
    assert_eq!(changed["spec"]["reference"], "x");
    let from = made["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut watch = front.lines(&format!("{FLUNDERS}?watch=true&resourceVersion={from}")).await;
    assert_eq!(watch.next().await["type"], "MODIFIED");
    front.create(FLUNDERS, flunder("two")).await;
    let event = watch.next().await;
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("two")));
    front.request("DELETE", &format!("{FLUNDERS}/one"), &Value::Null).await.expect("is deleted");
    assert_eq!(watch.next().await["type"], "DELETED");
    let list = front.request("GET", FLUNDERS, &Value::Null).await.expect("a list");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));

    // Who may what: first here, then there.
    let jane = front.as_user("jane");
    let forbidden = "flunders.wardle.example.com is forbidden: User \"jane\" cannot list resource \"flunders\" in API group \
                     \"wardle.example.com\" in the namespace \"default\"";
    let role = json!({"metadata": {"name": "flunders"}, "rules": [{"apiGroups": ["wardle.example.com"], "resources": ["flunders"], "verbs": ["list"]}]});
    let binding = json!({"metadata": {"name": "jane"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"}});
    for server in [&front, &back] {
        let refused = jane.request("GET", FLUNDERS, &Value::Null).await.expect_err("may not");
        assert_eq!((&refused["code"], &refused["message"]), (&json!(403), &json!(forbidden)));
        server.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role.clone()).await;
        server.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding.clone()).await;
    }
    let allowed = async {
        while jane.request("GET", FLUNDERS, &Value::Null).await.is_err() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), allowed).await.expect("both roles count");

    // It goes away, and comes back.
    drop(watch);
    port.close().await;
    touch(&front).await;
    let why = until(&front, name, "FailedDiscoveryCheck").await;
    let at = format!("https://127.0.0.1:{number}/apis/wardle.example.com/v1alpha1");
    let refused = format!(
        "failing or missing response from {at}: Get \"{at}\": dial tcp 127.0.0.1:{number}: connect: connection refused"
    );
    assert_eq!(why, refused);
    assert_eq!(front.fetch(FLUNDERS, "*/*").await, (503, "service unavailable\n".to_owned()));
    let entry = discovered(&front, "wardle.example.com").await;
    assert_eq!((&entry["freshness"], &entry["resources"][0]["resource"]), (&json!("Stale"), &json!("flunders")));
    let metrics = front.text("/metrics").await;
    assert!(metrics.contains(&format!("aggregator_unavailable_apiservice{{name=\"{name}\"}} 1")), "{metrics}");
    let port = Port::open(&format!("127.0.0.1:{number}"), Arc::new(back.local()), Some((&cert, &key))).await;
    until(&front, name, "Passed").await;
    front.request("GET", FLUNDERS, &Value::Null).await.expect("is back");

    front.request("DELETE", &format!("{API_SERVICES}/{name}"), &Value::Null).await.expect("is deleted");
    let gone = async {
        while front.fetch(FLUNDERS, "*/*").await.0 != 404 {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nobody answers any more");
    front.request("GET", "/apis/wardle.example.com", &Value::Null).await.expect_err("there is no such group");
    port.close().await;
    front.stop().await;
    back.stop().await;
}

/// A server that has no aggregated discovery, and tells what it was asked.
#[derive(Default)]
struct Old {
    asked: Mutex<Vec<(String, HeaderMap)>>,
}

impl Old {
    /// The headers of the last request for a path.
    fn headers(&self, path: &str) -> HeaderMap {
        let asked = self.asked.lock().expect("lock");
        asked.iter().rfind(|(at, _)| at == path).map(|(_, headers)| headers.clone()).expect("was asked")
    }
}

impl Handler for Old {
    fn handle(&self, mut request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send + '_>> {
        Box::pin(async move {
            let path = request.uri().to_string();
            self.asked.lock().expect("lock").push((path.clone(), request.headers().clone()));
            let answer = |code: u16, body: Value| {
                Response::builder()
                    .status(code)
                    .header("content-type", "application/json")
                    .body(full(body.to_string()))
                    .expect("answer")
            };
            match path.as_str() {
                "/apis/old.example.com/v1" => answer(
                    200,
                    json!({"kind": "APIResourceList", "resources": [
                        {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["get"]},
                    ]}),
                ),
                "/apis/old.example.com/v1/things/moved" => {
                    let mut answer = answer(302, Value::Null);
                    answer.headers_mut().insert("location", "https://example.com/".parse().expect("header"));
                    answer
                }
                "/apis/old.example.com/v1/namespaces/default/things/a/exec" => {
                    let (response, io) = streaming::upgrade::accept(&mut request, "echo");
                    tokio::spawn(async move {
                        let (mut read, mut write) = tokio::io::split(io.await.expect("an upgrade"));
                        let _ended = tokio::io::copy(&mut read, &mut write).await;
                    });
                    response.body(full("")).expect("answer")
                }
                "/apis/old.example.com/v1/things" => answer(200, json!({"kind": "ThingList", "items": []})),
                _ => answer(404, Value::Null),
            }
        })
    }
}

#[tokio::test]
async fn servers_are_told_who_asks_and_may_switch_protocols() {
    let keys = Keys::new();
    let front = keys.front().await;
    let (cert, key) = keys.serving();
    let old = Arc::new(Old::default());
    let port = Port::open("127.0.0.1:0", old.clone(), Some((&cert, &key))).await;
    front.create(SERVICES, outside()).await;
    let mut made = api_service("old.example.com", "v1", port.address.port(), &keys.bundle());
    made["spec"]["groupPriorityMinimum"] = 20000.into();
    front.create(API_SERVICES, made).await;
    until(&front, "v1.old.example.com", "Passed").await;
    let groups = front.request("GET", "/apis", &Value::Null).await.expect("groups");
    assert_eq!(groups["groups"][1]["name"], "old.example.com", "it has the highest priority");
    let entry = discovered(&front, "old.example.com").await;
    assert_eq!((&entry["freshness"], &entry["resources"][0]["singularResource"]), (&json!("Current"), &json!("thing")));
    let headers = old.headers("/apis/old.example.com/v1");
    assert_eq!(headers["x-remote-user"], "system:kube-aggregator");
    let index = front.request("GET", "/openapi/v3", &Value::Null).await.expect("an index");
    assert_eq!(index["paths"].get("apis/old.example.com/v1"), None, "it has no document");

    // Credentials stay here; what they stand for goes on.
    let role = json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["old.example.com"], "resources": ["*"], "verbs": ["*"]}]});
    front.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    let binding = json!({"metadata": {"name": "jane"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "all"}});
    front.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let door = Port::open("127.0.0.1:0", Arc::new(front.local()), None).await;
    let tasks = TaskTracker::new();
    let ask = |path: &str, upgrade: bool| {
        let mut request = Request::get(path)
            .header("host", "front")
            .header("authorization", "Bearer token-of-jane")
            .header("x-remote-user", "root")
            .header("x-remote-group", "system:masters");
        if upgrade {
            request = request.header("connection", "upgrade").header("upgrade", "echo");
        }
        request.body(Empty::<bytes::Bytes>::new()).expect("request")
    };
    let send = async |path: &str| {
        let io = TcpStream::connect(door.address).await.expect("connects");
        let answer = streaming::upgrade::send(io, ask(path, false), &tasks).await.expect("an answer");
        let (code, body) = (answer.status(), answer.into_body().collect().await.expect("a body").to_bytes());
        (code, String::from_utf8_lossy(&body).into_owned())
    };
    let allowed = async {
        while send("/apis/old.example.com/v1/things").await.0 != StatusCode::OK {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(20), allowed).await.expect("the role counts");
    let headers = old.headers("/apis/old.example.com/v1/things");
    let all =
        |name: &str| headers.get_all(name).iter().map(|v| v.to_str().expect("text").to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (all("authorization"), all("x-remote-user"), all("x-remote-uid")),
        (vec![], vec!["jane".to_owned()], vec!["7".to_owned()])
    );
    assert_eq!(all("x-remote-group"), ["staff", "system:authenticated"]);
    assert_eq!(
        (all("x-forwarded-host"), all("x-forwarded-for")),
        (vec!["front".to_owned()], vec!["127.0.0.1".to_owned()])
    );
    let refused = "the backend attempted to redirect this request, which is not permitted";
    assert_eq!(send("/apis/old.example.com/v1/things/moved").await, (StatusCode::BAD_GATEWAY, refused.to_owned()));

    let io = TcpStream::connect(door.address).await.expect("connects");
    let exec = ask("/apis/old.example.com/v1/namespaces/default/things/a/exec", true);
    let (_, mut io) = streaming::upgrade::connect(io, exec, &tasks).await.expect("switches");
    io.write_all(b"hello").await.expect("is written");
    let mut echoed = [0; 5];
    io.read_exact(&mut echoed).await.expect("comes back");
    assert_eq!(&echoed, b"hello");
    assert_eq!(old.headers("/apis/old.example.com/v1/namespaces/default/things/a/exec")["x-remote-user"], "jane");
    drop(io);

    // A certificate that the bundle does not vouch for.
    let other = Keys::new().bundle();
    let wrong = json!({"spec": {"caBundle": other}});
    front.merge(&format!("{API_SERVICES}/v1.old.example.com"), &wrong).await.expect("is patched");
    let why = "error trying to reach service: tls: failed to verify certificate: x509: certificate signed by unknown authority\n";
    let mut last = (0, String::new());
    let distrusted = async {
        while last != (503, why.to_owned()) {
            last = front.fetch("/apis/old.example.com/v1/things", "*/*").await;
            tokio::task::yield_now().await;
        }
    };
    let distrusted = tokio::time::timeout(Duration::from_secs(20), distrusted).await;
    distrusted.unwrap_or_else(|_| panic!("is refused: {last:?}"));
    for port in [door, port] {
        port.close().await;
    }
    front.stop().await;
}

#[tokio::test]
async fn conditions_say_what_is_missing_and_who_is_local() {
    let keys = Keys::new();
    let front = keys.front().await;
    for name in ["v1.apps", "v1."] {
        assert_eq!(until(&front, name, "Local").await, "Local APIServices are always available");
    }
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({"metadata": {"name": "things.mine.example.com"}, "spec": {
        "group": "mine.example.com", "scope": "Cluster",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
    }});
    front.create(definitions, definition).await;
    until(&front, "v1.mine.example.com", "Local").await;
    let path = format!("{definitions}/things.mine.example.com");
    front.request("DELETE", &path, &Value::Null).await.expect("is deleted");
    let gone = async {
        let path = format!("{API_SERVICES}/v1.mine.example.com");
        while front.request("GET", &path, &Value::Null).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("goes with its definition");
    let service = json!({"metadata": {"name": "sample-api"}, "spec": {"ports": [{"name": "https", "port": 443}]}});
    front.create(SERVICES, service).await;
    let name = "v1.gone.example.com";
    front.create(API_SERVICES, api_service("gone.example.com", "v1", 444, "")).await;
    assert_eq!(
        until(&front, name, "ServicePortError").await,
        "service/sample-api in \"default\" is not listening on port 444"
    );
    front
        .merge(&format!("{API_SERVICES}/{name}"), &json!({"spec": {"service": {"port": 443}}}))
        .await
        .expect("is patched");
    let why = until(&front, name, "EndpointsNotFound").await;
    assert_eq!(why, "cannot find endpointslices for service/sample-api in \"default\"");
    let slice = json!({"metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "sample-api"}}, "addressType": "IPv4",
        "ports": [{"name": "https", "port": 443}], "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": false}}]});
    front.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await;
    let why = until(&front, name, "MissingEndpoints").await;
    assert_eq!(why, "endpointslices for service/sample-api in \"default\" have no addresses with port name \"https\"");
    // From now on this server answers the group itself: there is nothing in it.
    let local = json!({"spec": {"service": null}});
    front.merge(&format!("{API_SERVICES}/{name}"), &local).await.expect("is patched");
    until(&front, name, "Local").await;
    assert_eq!(front.fetch("/apis/gone.example.com/v1/things", "*/*").await.0, 404);
    front.stop().await;
}

#[tokio::test]
async fn servers_learn_whom_to_believe() {
    let keys = Keys::new();
    let back = keys.back().await;
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let data = back.request("GET", path, &Value::Null).await.expect("is there")["data"].clone();
    assert_eq!(data["requestheader-client-ca-file"], std::fs::read_to_string(keys.path("ca.crt")).expect("file"));
    for (name, value) in [
        ("allowed-names", "[\"front-proxy-client\"]"),
        ("username-headers", "[\"X-Remote-User\"]"),
        ("uid-headers", "[\"X-Remote-Uid\"]"),
        ("group-headers", "[\"X-Remote-Group\"]"),
        ("extra-headers-prefix", "[\"X-Remote-Extra-\"]"),
    ] {
        assert_eq!(data[format!("requestheader-{name}")], value);
    }
    let role =
        "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/extension-apiserver-authentication-reader";
    let role = async {
        loop {
            if let Ok(role) = back.request("GET", role, &Value::Null).await {
                return role;
            }
            tokio::task::yield_now().await;
        }
    };
    let role = tokio::time::timeout(Duration::from_secs(20), role).await.expect("is there");
    assert_eq!(role["rules"][0]["resourceNames"], json!(["extension-apiserver-authentication"]));
    back.stop().await;
}
