//! The life of workloads on many nodes, twice with the same seed.

use std::time::Duration;

use api_types::k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use testkit::{
    Cluster, History, Options, assert_repeats,
    builders::{deployment, namespace},
    eventually,
};

const NODES: usize = 100;
const REPLICAS: i32 = 200;
const MINUTES: Duration = Duration::from_secs(60);

async fn nodes_are_ready(client: &Client, wanted: usize) {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = || async {
        let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready = nodes.iter().filter(|node| condition(node, "Ready") == "True").count();
        if ready == wanted { Ok(()) } else { Err(format!("{ready} of {} nodes ready", nodes.items.len())) }
    };
    eventually(5 * MINUTES, "all nodes ready", ready).await;
}

fn condition(node: &Node, kind: &str) -> String {
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.filter(|it| it.type_ == kind).map(|it| it.status.clone()).next_back().unwrap_or_default()
}

async fn deployment_is_done(client: &Client, namespace: &str, name: &str, limit: Duration) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let done = || async {
        let found = deployments.get(name).await.map_err(|error| error.to_string())?;
        let (spec, status) = (found.spec.clone().unwrap_or_default(), found.status.clone().unwrap_or_default());
        let wanted = spec.replicas.unwrap_or(1);
        let counts = [status.replicas, status.updated_replicas, status.available_replicas].map(|n| n.unwrap_or(0));
        let seen = status.observed_generation == found.metadata.generation;
        if seen && counts == [wanted; 3] { Ok(()) } else { Err(format!("replicas, updated, available: {counts:?}")) }
    };
    eventually(limit, "the deployment done", done).await;
}

/// A deployment with nodes for it.
async fn start(nodes: usize, replicas: i32) -> (Cluster, Client) {
    let cluster = Cluster::start(Options { nodes, ..Options::default() }).await.unwrap();
    let admin = cluster.admin();
    nodes_are_ready(&admin, nodes).await;
    Api::all(admin.clone()).create(&PostParams::default(), &namespace("shop")).await.unwrap();
    let web = deployment("web").namespace("shop").replicas(replicas).pods(|pod| pod.cpu("100m").memory("64Mi")).build();
    Api::namespaced(admin.clone(), "shop").create(&PostParams::default(), &web).await.unwrap();
    deployment_is_done(&admin, "shop", "web", 10 * MINUTES).await;
    (cluster, admin)
}

async fn rolling_update(nodes: usize, replicas: i32) -> History {
    let (cluster, admin) = start(nodes, replicas).await;
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "hollow:2"}]}}}});
    let deployments: Api<Deployment> = Api::namespaced(admin.clone(), "shop");
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    deployment_is_done(&admin, "shop", "web", 30 * MINUTES).await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "shop");
    let gone = || async {
        let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let new = pods.iter().all(|pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("hollow:2"));
        if new && pods.len() == replicas as usize { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    };
    eventually(5 * MINUTES, "only new pods", gone).await;
    cluster.stop().await
}

async fn node_failure(nodes: usize, replicas: i32) -> History {
    let (cluster, admin) = start(nodes, replicas).await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "shop");
    let victim = pods.list(&ListParams::default()).await.unwrap().items[0].spec.clone().unwrap().node_name.unwrap();
    cluster.stop_node(&victim);
    let moved = || async {
        let node = Api::<Node>::all(admin.clone()).get(&victim).await.map_err(|error| error.to_string())?;
        let ready = condition(&node, "Ready");
        let on_others = |pod: &&Pod| pod.spec.as_ref().unwrap().node_name.as_ref().is_some_and(|node| *node != victim);
        let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let running = pods.iter().filter(on_others).filter(|pod| is_ready(pod)).count();
        let done = ready == "Unknown" && running == replicas as usize;
        if done { Ok(()) } else { Err(format!("Ready={ready}, {running} pods ready on other nodes")) }
    };
    eventually(20 * MINUTES, "the pods on other nodes", moved).await;
    cluster.stop().await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.filter(|it| it.type_ == "Ready").all(|it| it.status == "True")
}

async fn namespace_deletion(nodes: usize, replicas: i32) -> History {
    let (cluster, admin) = start(nodes, replicas).await;
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    let gone = || async {
        let namespace = namespaces.get_opt("shop").await.map_err(|error| error.to_string())?;
        namespace.map_or(Ok(()), |it| Err(format!("{:?}", it.status)))
    };
    eventually(10 * MINUTES, "the namespace gone", gone).await;
    let pods = Api::<Pod>::all(admin.clone()).list(&ListParams::default()).await.unwrap();
    let left: Vec<_> = pods.iter().filter(|pod| pod.namespace().as_deref() == Some("shop")).collect();
    assert!(left.is_empty(), "{left:?}");
    cluster.stop().await
}

#[test]
fn a_rolling_update() {
    assert_repeats("life::a_rolling_update", 11, || rolling_update(NODES, REPLICAS));
}

#[test]
fn a_node_failure() {
    assert_repeats("life::a_node_failure", 12, || node_failure(NODES, REPLICAS));
}

#[test]
fn a_namespace_deletion() {
    assert_repeats("life::a_namespace_deletion", 13, || namespace_deletion(NODES, REPLICAS));
}
