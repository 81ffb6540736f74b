//! Crashes: of every daemon, and of a node.

use anyhow::{Result, ensure};
use e2e_tests::{Cluster, eventually};

/// Kill -9 of each daemon, then new work: it must be done all the same.
pub(crate) fn daemons(cluster: &Cluster) -> Result<()> {
    let worker = cluster.node("worker");
    let mut targets: Vec<String> =
        ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "cloud-controller-manager"]
            .map(str::to_owned)
            .into();
    targets.extend(["kubelet", "kube-proxy", "containerd"].map(|d| format!("{d}.{worker}")));
    for target in targets {
        cluster.fault("stop", &target)?;
        cluster.fault("start", &target)?;
        converges(cluster).map_err(|e| e.context(format!("after kill -9 of {target}")))?;
    }
    Ok(())
}

/// Rolls the example anew: needs the API server, controllers, scheduler, kubelets and runtimes.
fn converges(cluster: &Cluster) -> Result<()> {
    eventually(60, || cluster.kubectl("rollout restart deployment/web"))?;
    cluster.kubectl("rollout status deployment/web --timeout=120s")?;
    Ok(())
}

const MOVABLE: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: {name: movable}
spec:
  replicas: 3
  selector: {matchLabels: {app: movable}}
  template:
    metadata: {labels: {app: movable}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
      - {name: c, image: "keelson.local/busybox:1.0", command: [sleep, "100000"]}
"#;

/// All processes of a node die: its pods run elsewhere; when it comes back, it is ready again.
pub(crate) fn node(cluster: &Cluster) -> Result<()> {
    let path = std::env::temp_dir().join(format!("keelson-e2e-movable-{}.yaml", std::process::id()));
    std::fs::write(&path, MOVABLE)?;
    cluster.kubectl(&format!("apply -f {}", path.display()))?;
    cluster.kubectl("rollout status deployment/movable --timeout=60s")?;
    let dead = cluster.node("worker2");
    cluster.fault("stop", &dead)?;
    eventually(90, || {
        let ready = cluster
            .kubectl(&format!("get node {dead} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}"))?;
        ensure!(ready == "Unknown", "node {dead} is {ready}");
        Ok(())
    })?;
    eventually(60, || {
        let ready = cluster.kubectl("get deployment movable -o jsonpath={.status.readyReplicas}")?;
        let running =
            "get pods -l app=movable --field-selector=status.phase=Running -o jsonpath={.items[*].spec.nodeName}";
        let nodes = cluster.kubectl(running)?;
        let alive = nodes.split_whitespace().filter(|n| **n != dead).count();
        ensure!(ready == "3" && alive == 3, "{ready} replicas are ready, {alive} pods run on living nodes ({nodes})");
        Ok(())
    })?;
    cluster.fault("start", &dead)?;
    eventually(90, || cluster.kubectl(&format!("wait --for=condition=Ready node/{dead} --timeout=5s")))?;
    cluster.kubectl("delete deployment movable")?;
    Ok(())
}
