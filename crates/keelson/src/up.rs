//! `keelson up`: from nothing to a cluster whose nodes are ready. Every step can be repeated.

use std::{fs, future::Future, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use tokio::time::Instant;

use crate::{
    bootstrap, components, containerd, images, network, pki,
    progress::step,
    spec::{Cluster, Role, free_index},
    state, supervisor,
};

const API_SERVER_DEADLINE: Duration = Duration::from_secs(60);
const CONTAINERD_DEADLINE: Duration = Duration::from_secs(30);
const NODES_DEADLINE: Duration = Duration::from_secs(120);

/// What the user asked for.
pub struct Wish {
    pub name: String,
    pub workers: usize,
    pub etcd: bool,
    pub bin_dir: std::path::PathBuf,
}

/// Creates or completes the cluster.
pub async fn up(wish: Wish) -> Result<Cluster> {
    let cluster = settle(wish)?;
    println!("Cluster {:?}: 1 control-plane node, {} workers", cluster.name, cluster.workers);
    let token = step("keys, certificates, configuration", async { write_everything(&cluster) }).await?;
    step("network: bridge and node namespaces", network::create(&cluster)).await?;
    if supervisor::running(&cluster).is_none() {
        supervisor::spawn(&cluster)?;
    }
    step("container runtimes and images", start_runtimes(&cluster)).await?;
    step("API server", start_api_server(&cluster)).await?;
    let client = client(&cluster).await?;
    step("bootstrap objects", bootstrap::apply(&client, &token)).await?;
    step("controllers, scheduler, nodes", async { start_the_rest(&cluster) }).await?;
    step("nodes are ready", wait_for_nodes(&cluster, &client)).await?;
    step("services are routed", wait_for_proxies(&cluster, &client)).await?;
    label_control_plane(&cluster, &client).await?;
    Ok(cluster)
}

/// The existing cluster of that name, or a new one.
fn settle(wish: Wish) -> Result<Cluster> {
    let known = state::clusters()?;
    if let Some(existing) = known.iter().find(|c| c.name == wish.name) {
        if existing.workers != wish.workers || existing.etcd != wish.etcd {
            bail!(
                "cluster {:?} exists with {} workers and {}: remove it first (keelson down --name {})",
                existing.name,
                existing.workers,
                if existing.etcd { "etcd" } else { "the embedded store" },
                existing.name
            );
        }
        let cluster = Cluster { bin_dir: wish.bin_dir, ..existing.clone() };
        state::save(&cluster)?;
        return Ok(cluster);
    }
    let index = free_index(&known.iter().map(|c| c.index).collect::<Vec<_>>())?;
    let cluster = Cluster { name: wish.name, index, workers: wish.workers, etcd: wish.etcd, bin_dir: wish.bin_dir };
    cluster.validate()?;
    for binary in ["kube-apiserver", "kubelet", "keelson-pause"] {
        if !cluster.bin_dir.join(binary).exists() {
            bail!("{} has no {binary}: build the binaries first", cluster.bin_dir.display());
        }
    }
    state::save(&cluster)?;
    Ok(cluster)
}

/// Writes all files and returns the bootstrap token, which is made once per cluster.
fn write_everything(cluster: &Cluster) -> Result<String> {
    pki::create(cluster)?;
    let file = cluster.pki_dir().join("bootstrap-token");
    if !file.exists() {
        pki::write_private(&file, &format!("{}.{}", random_text(6), random_text(16)))?;
    }
    let token = fs::read_to_string(&file)?;
    components::write_files(cluster, &token)?;
    for node in cluster.nodes() {
        containerd::write_config(cluster, &node)?;
    }
    Ok(token)
}

fn random_text(length: usize) -> String {
    use rand::RngExt;
    let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(alphabet[rng.random_range(0..alphabet.len())])).collect()
}

async fn start_runtimes(cluster: &Cluster) -> Result<()> {
    let base = [images::pause(&cluster.bin_dir.join("keelson-pause"))?, images::busybox(busybox()?)?];
    for node in cluster.nodes() {
        supervisor::want(cluster, &format!("containerd.{}", node.name))?;
    }
    for node in cluster.nodes() {
        let socket = cluster.containerd_socket(&node);
        let log = cluster.log_dir().join(format!("containerd.{}.log", node.name));
        until(CONTAINERD_DEADLINE, &log, || async { tokio::net::UnixStream::connect(&socket).await.is_ok() }).await?;
        for image in &base {
            images::import(&socket, image).await?;
        }
    }
    Ok(())
}

fn busybox() -> Result<&'static Path> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(Path::new).find(|p| p.exists());
    found.context("busybox is not installed (package busybox-static)")
}

async fn start_api_server(cluster: &Cluster) -> Result<()> {
    if cluster.etcd {
        supervisor::want(cluster, "etcd")?;
    }
    supervisor::want(cluster, "kube-apiserver")?;
    let log = cluster.log_dir().join("kube-apiserver.log");
    let client = client(cluster).await?;
    let ready = || async {
        let request = http::Request::get("/readyz").body(Vec::new()).expect("a constant request");
        client.request_text(request).await.is_ok()
    };
    until(API_SERVER_DEADLINE, &log, ready).await
}

fn start_the_rest(cluster: &Cluster) -> Result<()> {
    components::processes(cluster).iter().try_for_each(|p| supervisor::want(cluster, &p.name))
}

/// A client with the administrator's credentials.
pub async fn client(cluster: &Cluster) -> Result<Client> {
    let config = component_base::kubeconfig::load(&cluster.admin_kubeconfig(), "").await?;
    Ok(component_base::kubeconfig::client(config, "keelson")?)
}

/// Waits until every node is registered, ready and initialised by the cloud provider.
async fn wait_for_nodes(cluster: &Cluster, client: &Client) -> Result<()> {
    let api: Api<ApiNode> = Api::all(client.clone());
    let wanted = cluster.nodes().len();
    let ready = || async {
        match api.list(&ListParams::default()).await {
            Ok(list) => list.items.iter().filter(|n| is_ready(n)).count() >= wanted,
            Err(_) => false,
        }
    };
    until(NODES_DEADLINE, &cluster.log_dir(), ready).await
}

/// Waits until the service proxy of every node has written its rules: a connection to a service that begins before hangs.
async fn wait_for_proxies(cluster: &Cluster, client: &Client) -> Result<()> {
    for node in cluster.nodes() {
        let path = format!("/api/v1/nodes/{}:10256/proxy/healthz", node.name);
        let ready = || async {
            let request = http::Request::get(&path).body(Vec::new()).expect("a valid path");
            client.request_text(request).await.is_ok()
        };
        until(NODES_DEADLINE, &cluster.log_dir(), ready).await?;
    }
    Ok(())
}

/// Gives the control-plane node its role: a label that a node must not give itself (NodeRestriction).
async fn label_control_plane(cluster: &Cluster, client: &Client) -> Result<()> {
    let api: Api<ApiNode> = Api::all(client.clone());
    let patch = serde_json::json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    for node in cluster.nodes().iter().filter(|node| node.role != Role::Worker) {
        api.patch(&node.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .context("label the control plane")?;
    }
    Ok(())
}

fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    let waiting = taints.is_some_and(|t| {
        t.iter()
            .any(|t| t.key.starts_with("node.cloudprovider.kubernetes.io/") || t.key.starts_with("node.kubernetes.io/"))
    });
    ready && !waiting
}

/// Asks `done` until it says yes; after `deadline` the error names the log to look into.
async fn until<F: Future<Output = bool>>(deadline: Duration, log: &Path, done: impl Fn() -> F) -> Result<()> {
    let end = Instant::now() + deadline;
    while !done().await {
        if Instant::now() > end {
            bail!("not reached within {} s; see {}", deadline.as_secs(), log.display());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
