//! The example workload and the ways to its page.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e_tests::{Cluster, eventually, run};

const PAGE: &str = "Hello from Keelson";

/// What `hack/up` shows: apply, available, job complete, cluster IP from each node, node port from the machine.
pub(crate) fn example(cluster: &Cluster) -> Result<()> {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let script = format!("{repository}/hack/try-example");
    run(Command::new(script).arg(cluster.bin_dir()).env("KUBECONFIG", cluster.kubeconfig()))?;
    let nodes = cluster.kubectl("get pods -l app=web -o jsonpath={.items[*].spec.nodeName}")?;
    let mut nodes: Vec<&str> = nodes.split_whitespace().collect();
    nodes.sort_unstable();
    nodes.dedup();
    ensure!(nodes.len() == 3, "three replicas run on {nodes:?}");
    Ok(())
}

/// A service of type LoadBalancer gets an address that this machine reaches, also when a node is gone.
pub(crate) fn load_balancer(cluster: &Cluster) -> Result<()> {
    cluster.kubectl("expose deployment web --name=web-lb --type=LoadBalancer --port=8081 --target-port=8080")?;
    let address = eventually(20, || {
        let ip = cluster.kubectl("get service web-lb -o jsonpath={.status.loadBalancer.ingress[0].ip}")?;
        ensure!(!ip.is_empty(), "no address yet");
        Ok(ip)
    })?;
    eventually(20, || fetch(&format!("http://{address}:8081/index.html")))?;
    cluster.kubectl("delete service web-lb")?;
    Ok(())
}

/// `keelson load` puts an archive's image on every node: a pod with it starts.
pub(crate) fn load_image(cluster: &Cluster) -> Result<()> {
    let archive = std::env::temp_dir().join(format!("keelson-e2e-{}.tar", std::process::id()));
    let socket = format!("/run/keelson/e2e/{}/containerd.sock", cluster.node("worker"));
    let base = "keelson.local/busybox:1.0";
    let copy = "example.test/copy:2";
    let ctr = |args: &[&str]| run(Command::new("ctr").args(["-a", &socket, "-n", "k8s.io", "images"]).args(args));
    ctr(&["tag", "--force", base, copy])?;
    ctr(&["export", &archive.display().to_string(), copy])?;
    ctr(&["remove", copy])?;
    let printed = cluster.keelson(&["load", "--name", "e2e", &archive.display().to_string()])?;
    ensure!(printed.contains(copy), "load printed {printed:?}");
    cluster.kubectl(&format!("run copy --image={copy} --restart=Never --command -- true"))?;
    eventually(30, || {
        let phase = cluster.kubectl("get pod copy -o jsonpath={.status.phase}")?;
        ensure!(phase == "Succeeded", "pod copy is {phase}");
        Ok(())
    })?;
    cluster.kubectl("delete pod copy")?;
    std::fs::remove_file(&archive)?;
    Ok(())
}

/// `up` on a running cluster completes and leaves the workload alone.
pub(crate) fn second_up(cluster: &Cluster) -> Result<()> {
    let pods = || cluster.kubectl("get pods -l app=web -o jsonpath={.items[*].metadata.uid}");
    // Pods that earlier scenarios replaced may still be going.
    let before = eventually(60, || {
        let pods = pods()?;
        ensure!(pods.split_whitespace().count() == 3, "pods: {pods}");
        Ok(pods)
    })?;
    cluster.keelson(&["up", "--name", "e2e", "--workers", "2"])?;
    ensure!(pods()? == before, "the second up replaced pods");
    Ok(())
}

/// A second cluster with its state in etcd runs the example at the same time.
pub(crate) fn beside_on_etcd(_: &Cluster) -> Result<()> {
    let other = Cluster::up("e2e-etcd", &["--workers", "1", "--etcd"])?;
    other.kubectl(concat!("apply -f ", env!("CARGO_MANIFEST_DIR"), "/../../examples/web"))?;
    other.kubectl("rollout status deployment/web --timeout=60s")?;
    other.kubectl("wait --for=condition=complete job/fetch --timeout=60s")?;
    other.down()
}

/// Fetches the example's page.
pub(crate) fn fetch(url: &str) -> Result<()> {
    let page = run(Command::new("curl").args(["-sf", "-m", "5", url])).with_context(|| url.to_owned())?;
    ensure!(page.contains(PAGE), "{url} answered {page:?}");
    Ok(())
}
