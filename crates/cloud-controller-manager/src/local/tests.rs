use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
};

use parking_lot::Mutex;
use serde_json::json;

use super::*;

/// Routing tables in memory.
#[derive(Default)]
struct Fake {
    tables: Mutex<BTreeMap<Option<PathBuf>, BTreeMap<String, Ipv4Addr>>>,
    dead: Mutex<BTreeSet<Ipv4Addr>>,
}

impl Fake {
    fn table(&self, namespace: Option<&Path>) -> BTreeMap<String, Ipv4Addr> {
        self.tables.lock().get(&namespace.map(Path::to_path_buf)).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Network for Fake {
    async fn routes(&self, namespace: Option<&Path>) -> Result<Vec<(String, Ipv4Addr)>, NetworkError> {
        Ok(self.table(namespace).into_iter().collect())
    }
    async fn replace(&self, namespace: Option<&Path>, destination: &str, via: Ipv4Addr) -> Result<(), NetworkError> {
        self.tables.lock().entry(namespace.map(Path::to_path_buf)).or_default().insert(destination.to_owned(), via);
        Ok(())
    }
    async fn delete(&self, namespace: Option<&Path>, destination: &str) -> Result<(), NetworkError> {
        self.tables.lock().entry(namespace.map(Path::to_path_buf)).or_default().remove(destination);
        Ok(())
    }
    async fn answers(&self, address: Ipv4Addr, _port: u16, _path: &str) -> bool {
        !self.dead.lock().contains(&address)
    }
}

struct Fixture {
    dir: tempfile::TempDir,
    network: Arc<Fake>,
    cloud: Arc<Local>,
}

impl Fixture {
    /// Two running machines, `a` (10.0.0.1) and `b` (10.0.0.2), and one that is off, `c`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = |name: &str, n: u8| json!({"name": name, "address": format!("10.0.0.{n}"), "netns": dir.path().join(name), "zone": "z"});
        let config = json!({"apiVersion": "keelson.dev/v1alpha1", "kind": "LocalCloudConfig", "bridge": "br",
            "loadBalancerRange": {"start": "10.0.0.200", "end": "10.0.0.201"},
            "instances": [instance("a", 1), instance("b", 2), instance("c", 3)]});
        std::fs::write(dir.path().join("a"), "").unwrap();
        std::fs::write(dir.path().join("b"), "").unwrap();
        let file = dir.path().join("cloud.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let network = Arc::new(Fake::default());
        let cloud = Arc::new(Local::new(file, network.clone(), Store::default()).unwrap());
        Fixture { dir, network, cloud }
    }

    fn table(&self, name: &str) -> BTreeMap<String, Ipv4Addr> {
        self.network.table(Some(&self.dir.path().join(name)))
    }
}

fn node(name: &str) -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap())
}

fn service(name: &str) -> Service {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "d"}, "spec": {"ports": [{"port": 80}]}}))
        .unwrap()
}

#[tokio::test]
async fn instances_come_from_the_file() {
    let f = Fixture::new();
    let metadata = f.cloud.instance(&node("a")).await.unwrap().unwrap();
    assert_eq!(
        (metadata.provider_id.as_str(), metadata.zone.as_str(), metadata.region.as_str()),
        ("local://br/a", "z", "local")
    );
    assert!(f.cloud.instance(&node("nobody")).await.unwrap().is_none());
    assert!(f.cloud.is_shut_down(&node("c")).await.unwrap() && !f.cloud.is_shut_down(&node("a")).await.unwrap());
    std::fs::write(f.dir.path().join("cloud.yaml"), "nonsense").unwrap();
    assert!(f.cloud.instance(&node("a")).await.is_err(), "a broken file is no reason to delete nodes");
}

#[tokio::test]
async fn routes_are_made_in_every_other_machine() {
    let f = Fixture::new();
    let route = Route { node: "a".into(), destination: "10.244.1.0/24".into() };
    f.cloud.create(&route).await.unwrap();
    assert!(f.table("a").is_empty());
    assert_eq!(f.table("b"), BTreeMap::from([("10.244.1.0/24".to_owned(), Ipv4Addr::new(10, 0, 0, 1))]));
    assert_eq!(f.cloud.list().await.unwrap(), [(route.clone(), true)]);
    std::fs::write(f.dir.path().join("c"), "").unwrap();
    assert_eq!(f.cloud.list().await.unwrap(), [(route.clone(), false)], "the machine that came lacks it");
    f.cloud.create(&route).await.unwrap();
    Routes::delete(&*f.cloud, &route).await.unwrap();
    assert!(f.table("b").is_empty() && f.table("c").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_follows_a_healthy_node() {
    let f = Fixture::new();
    let nodes = [node("a"), node("b")];
    let status = f.cloud.ensure(&service("s"), &nodes).await.unwrap();
    assert_eq!(status.ingress.unwrap()[0].ip.as_deref(), Some("10.0.0.200"));
    let routed = || f.network.table(None).get("10.0.0.200/32").map(|ip| ip.octets()[3]);
    assert_eq!(routed(), Some(1));
    let shutdown = CancellationToken::new();
    let (cloud, token) = (f.cloud.clone(), shutdown.clone());
    let watching = tokio::spawn(async move { cloud.watch_over(token).await });
    f.network.dead.lock().insert(Ipv4Addr::new(10, 0, 0, 1));
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(routed(), Some(2));
    shutdown.cancel();
    watching.await.unwrap();
    let other = f.cloud.ensure(&service("t"), &nodes).await.unwrap();
    assert_eq!(other.ingress.unwrap()[0].ip.as_deref(), Some("10.0.0.201"));
    assert!(f.cloud.ensure(&service("u"), &nodes).await.is_err(), "the range is used up");
    LoadBalancers::delete(&*f.cloud, &service("s")).await.unwrap();
    assert_eq!(routed(), None);
}
