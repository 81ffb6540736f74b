//! Extenders behind a real port on loopback, asked by whole decisions.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::Cache,
    config::{KubeSchedulerConfiguration, ProfileConfig},
    framework::Profile,
    schedule::{Unschedulable, schedule},
};

/// A server that answers each verb as it was told, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _runtime: tokio::runtime::Runtime,
}

type Answer = (u16, Value);

async fn answer(
    request: Request<Incoming>,
    answers: Arc<BTreeMap<String, Answer>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let json_sent = request.headers().get("content-type").is_some_and(|t| t == "application/json");
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    asked.lock().push((path.clone(), serde_json::from_slice(&body).unwrap_or_default()));
    let (code, body) = answers.get(&path).filter(|_| json_sent).cloned().unwrap_or((404, json!({})));
    let response = Response::builder().status(code).body(Full::new(Bytes::from(body.to_string())));
    Ok(response.unwrap_or_default())
}

async fn speak<S>(stream: S, answers: Arc<BTreeMap<String, Answer>>, asked: Arc<Mutex<Vec<(String, Value)>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, answers.clone(), asked.clone()));
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Server {
    fn start(answers: &[(&str, u16, Value)], tls: Option<Arc<rustls::ServerConfig>>) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let answers = answers.iter().map(|(path, code, body)| ((*path).to_owned(), (*code, body.clone())));
        let (answers, record) = (Arc::new(answers.collect()), asked.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, record, tls) = (Arc::clone(&answers), record.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => speak(stream, answers, record).await,
                        Some(tls) => {
                            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                                speak(stream, answers, record).await;
                            }
                        }
                    }
                });
            }
        });
        Server { address, asked, _runtime: runtime }
    }

    fn asked(&self, path: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(p, _)| p == path).map(|(_, body)| body.clone()).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().iter().map(|(p, _)| p.clone()).collect()
    }
}

/// An extender at the server with these further settings.
fn extender(server: &Server, settings: Value) -> Value {
    let mut extender = json!({"urlPrefix": format!("http://{}/ext/", server.address), "httpTimeout": "3s"});
    extender.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    extender
}

fn config(extenders: &[Value]) -> Result<crate::Config, crate::framework::ConfigError> {
    let file = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "extenders": extenders});
    serde_json::from_value::<KubeSchedulerConfiguration>(file).unwrap().config()
}

fn pod(name: &str, cpu: &str, node: Option<&str>, priority: i32) -> Arc<PodInfo> {
    let pod = json!({"metadata": {"name": name, "namespace": "d", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node, "priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn cluster(nodes: &[&str]) -> Cache {
    let mut cache = Cache::default();
    for name in nodes {
        let node =
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "memory": "8Gi", "pods": "10"}}});
        cache.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    cache.snapshot.settle();
    cache
}

fn profile(extenders: &[Value]) -> Profile {
    let config = config(extenders).unwrap();
    let mut profile = Profile::new(&ProfileConfig::default(), 0).unwrap();
    profile.extenders = config.extenders;
    profile
}

fn decide(profile: &Profile, cache: &Cache, pod: &PodInfo) -> Result<String, Unschedulable> {
    schedule(profile, &cache.snapshot, pod, &mut 0, &mut |_| 0).map(|decision| decision.node.name().to_owned())
}

#[test]
fn nodes_are_filtered_by_name_and_reasons_are_told() {
    let server = Server::start(
        &[("/ext/filter", 200, json!({"NodeNames": ["b"], "FailedNodes": {"a": "too blue"}, "Error": ""}))],
        None,
    );
    let cache = cluster(&["a", "b"]);
    let caching = extender(&server, json!({"filterVerb": "filter", "nodeCacheCapable": true}));
    assert_eq!(decide(&profile(&[caching]), &cache, &pod("p", "1m", None, 0)).unwrap(), "b");
    let asked = server.asked("/ext/filter");
    assert_eq!(asked[0]["NodeNames"], json!(["a", "b"]));
    assert_eq!((&asked[0]["Nodes"], &asked[0]["Pod"]["metadata"]["name"]), (&Value::Null, &json!("p")));
}

#[test]
fn nodes_are_filtered_as_objects_and_refusals_add_up() {
    let none =
        json!({"Nodes": {"items": []}, "FailedNodes": {"a": "too blue"}, "FailedAndUnresolvableNodes": {"b": "never"}});
    let server = Server::start(&[("/ext/filter", 200, none)], None);
    let cache = cluster(&["a", "b"]);
    let profile = profile(&[extender(&server, json!({"filterVerb": "filter"}))]);
    let why = decide(&profile, &cache, &pod("p", "1m", None, 0)).unwrap_err();
    assert!(why.message().starts_with("0/2 nodes are available: 1 never, 1 too blue."), "{}", why.message());
    let items = server.asked("/ext/filter")[0]["Nodes"]["items"].as_array().unwrap().len();
    assert_eq!(items, 2);
    let Unschedulable::Unfit { diagnosis, .. } = why else { panic!("{why:?}") };
    assert!(diagnosis.plugins.contains(NAME), "any change may help");
}

#[test]
fn scores_are_weighted_into_the_plugins_scale() {
    let server =
        Server::start(&[("/ext/score", 200, json!([{"Host": "a", "Score": 1}, {"Host": "c", "Score": 3}]))], None);
    let cache = cluster(&["a", "b", "c"]);
    let profile = profile(&[extender(&server, json!({"prioritizeVerb": "score", "weight": 2}))]);
    let target = pod("p", "1m", None, 0);
    let decision = schedule(&profile, &cache.snapshot, &target, &mut 0, &mut |_| 0).unwrap();
    assert_eq!(decision.node.name(), "c");
    let nodes: Vec<_> = decision.feasible.iter().map(|n| n.name()).collect();
    let row = decision.scores.iter().find(|(name, _)| *name == NAME).unwrap();
    let scores: BTreeMap<_, _> = nodes.into_iter().zip(row.1.iter().copied()).collect();
    assert_eq!(scores, BTreeMap::from([("a", 20), ("b", 0), ("c", 60)]));
}

#[test]
fn failures_fail_the_attempt_unless_they_are_ignorable() {
    let server = Server::start(
        &[
            ("/ext/broken", 500, json!({})),
            ("/ext/sorry", 200, json!({"Error": "no mood"})),
            ("/ext/wild", 200, json!({"NodeNames": ["z"]})),
        ],
        None,
    );
    let cache = cluster(&["a"]);
    let url = format!("http://{}/ext", server.address);
    let table = [
        ("broken", format!("failed broken with extender at URL {url}/broken, code 500")),
        ("sorry", "no mood".to_owned()),
        ("wild", format!("extender \"{url}/\" claims a filtered node \"z\" which is not found in the input node list")),
    ];
    for (verb, want) in table {
        let settings = |ignorable: bool| json!({"filterVerb": verb, "nodeCacheCapable": true, "ignorable": ignorable});
        let why =
            decide(&profile(&[extender(&server, settings(false))]), &cache, &pod("p", "1m", None, 0)).unwrap_err();
        assert_eq!(why.message(), want);
        assert!(matches!(why, Unschedulable::Failed(_)));
        let ignoring = profile(&[extender(&server, settings(true))]);
        assert_eq!(decide(&ignoring, &cache, &pod("p", "1m", None, 0)).unwrap(), "a");
    }
    drop(server);
}

#[test]
fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let profile = profile(&[json!({"urlPrefix": url, "filterVerb": "filter"})]);
    let message = decide(&profile, &cluster(&["a"]), &pod("p", "1m", None, 0)).unwrap_err().message();
    assert!(message.starts_with(&format!("Post \"{url}/filter\": ")) && message.contains("refused"), "{message}");
}

#[test]
fn only_pods_with_managed_resources_concern_an_extender() {
    let server = Server::start(&[("/ext/filter", 200, json!({"NodeNames": []}))], None);
    let managed = json!([{"name": "example.com/gpu", "ignoredByScheduler": true}]);
    let settings = json!({"filterVerb": "filter", "nodeCacheCapable": true, "managedResources": managed});
    let config = config(&[extender(&server, settings)]).unwrap();
    let mut profile = Profile::new(&config.profiles[0], 0).unwrap();
    profile.extenders = config.extenders;
    let cache = cluster(&["a"]);
    assert_eq!(decide(&profile, &cache, &pod("p", "1m", None, 0)).unwrap(), "a");
    assert!(server.paths().is_empty());
    let user = json!({"metadata": {"name": "u", "namespace": "d"}, "spec": {"containers": [{"name": "c",
        "resources": {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}}]}});
    let user = PodInfo::new(Arc::new(serde_json::from_value(user).unwrap()));
    let message = decide(&profile, &cache, &user).unwrap_err().message();
    assert!(!message.contains("Insufficient"), "the scheduler leaves the resource alone: {message}");
    assert_eq!(server.paths(), ["/ext/filter"]);
}

#[test]
fn an_extender_chooses_among_victims() {
    let victims = json!({"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": "uid-old-b"}], "NumPDBViolations": 0}}});
    let server = Server::start(&[("/ext/preempt", 200, victims)], None);
    for caching in [true, false] {
        let mut cache = cluster(&["a", "b"]);
        cache.set_pod(pod("old-a", "900m", Some("a"), 1));
        cache.set_pod(pod("old-b", "900m", Some("b"), 2));
        cache.snapshot.settle();
        let profile = profile(&[extender(&server, json!({"preemptVerb": "preempt", "nodeCacheCapable": caching}))]);
        let why = decide(&profile, &cache, &pod("vip", "900m", None, 9)).unwrap_err();
        let Unschedulable::Unfit { preemption: Some(preemption), .. } = why else { panic!("{why:?}") };
        assert_eq!(preemption.node, "b", "alone, the scheduler would evict the less important pod on a");
        let asked = server.asked("/ext/preempt").pop().unwrap();
        if caching {
            assert_eq!(asked["NodeNameToMetaVictims"]["a"]["Pods"], json!([{"UID": "uid-old-a"}]));
        } else {
            assert_eq!(asked["NodeNameToVictims"]["a"]["Pods"][0]["metadata"]["name"], "old-a");
        }
    }
}

#[tokio::test]
async fn an_extender_binds() {
    let server = tokio::task::spawn_blocking(|| {
        Server::start(&[("/ext/bind", 200, json!({})), ("/ext/nobind", 200, json!({"Error": "taken"}))], None)
    });
    let server = server.await.unwrap();
    let ours = config(&[extender(&server, json!({"bindVerb": "bind"}))]).unwrap().extenders;
    assert_eq!(ours.bind(&pod("p", "1m", None, 0), "a").await, Ok(true));
    let want = json!({"PodName": "p", "PodNamespace": "d", "PodUID": "uid-p", "Node": "a"});
    assert_eq!(server.asked("/ext/bind"), [want]);
    let theirs = config(&[extender(&server, json!({"bindVerb": "nobind"}))]).unwrap().extenders;
    assert_eq!(theirs.bind(&pod("p", "1m", None, 0), "a").await, Err("taken".to_owned()));
    assert_eq!(Extenders::default().bind(&pod("p", "1m", None, 0), "a").await, Ok(false));
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}

#[test]
fn tls_is_verified_where_a_ca_is_given() {
    component_base::kubeconfig::install_crypto_provider();
    let made = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (ours, stranger) = (made("extender.example"), made("extender.example"));
    let key = rustls_pki_types::PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
    let tls =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![ours.cert.der().clone()], key);
    let server = Server::start(&[("/ext/filter", 200, json!({"NodeNames": ["a"]}))], Some(Arc::new(tls.unwrap())));
    let with = |tls: Value| {
        let url = format!("https://{}/ext", server.address);
        let mut settings =
            json!({"urlPrefix": url, "enableHTTPS": true, "filterVerb": "filter", "nodeCacheCapable": true});
        settings["tlsConfig"] = tls;
        decide(&profile(&[settings]), &cluster(&["a"]), &pod("p", "1m", None, 0))
    };
    use base64::Engine as _;
    let pem = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
    let named = |ca: &rcgen::CertifiedKey<rcgen::KeyPair>| json!({"caData": pem(ca.cert.pem()), "serverName": "extender.example"});
    assert_eq!(with(named(&ours)).unwrap(), "a");
    assert!(with(named(&stranger)).is_err(), "signed by somebody else");
    assert!(with(json!({"caData": pem(ours.cert.pem())})).is_err(), "another name");
    assert_eq!(with(Value::Null).unwrap(), "a", "without a CA the server is not verified, as upstream");
}
