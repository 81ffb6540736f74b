//! The files and command lines of the components: kubeconfigs, configuration files, and the table of processes.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    pki::{self, CLIENTS},
    spec::{Cluster, Node, POD_CIDR, Role, SERVICE_CIDR},
};

/// One process of the cluster, as the supervisor runs it.
#[derive(Clone, Debug)]
pub struct Process {
    /// Unique in the cluster: `kube-apiserver`, `kubelet.dev-worker`; also the name of its log.
    pub name: String,
    pub argv: Vec<String>,
    /// The node whose network it lives in; `None` is the host's.
    pub netns: Option<PathBuf>,
    /// Relative to the root of the control-group hierarchies.
    pub cgroup: String,
}

/// The component that talks to the cloud lives on the host: it keeps the nodes' routes.
const HOST_CGROUP: &str = "host";

/// All processes in the order in which they are started.
pub fn processes(cluster: &Cluster) -> Vec<Process> {
    let nodes = cluster.nodes();
    let control_plane = &nodes[0];
    let mut list: Vec<Process> = nodes.iter().map(|n| containerd(cluster, n)).collect();
    if cluster.etcd {
        list.push(on_node(cluster, control_plane, "etcd", etcd(cluster)));
    }
    list.push(on_node(cluster, control_plane, "kube-apiserver", apiserver(cluster)));
    list.push(on_node(cluster, control_plane, "kube-controller-manager", controller_manager(cluster)));
    list.push(on_node(cluster, control_plane, "kube-scheduler", scheduler(cluster)));
    list.push(Process {
        name: "cloud-controller-manager".into(),
        argv: cloud_controller_manager(cluster),
        netns: None,
        cgroup: format!("{}/{HOST_CGROUP}", cluster.cgroup()),
    });
    for node in &nodes {
        list.push(per_node(cluster, node, "kubelet", kubelet(cluster, node)));
        list.push(per_node(cluster, node, "kube-proxy", proxy(cluster, node)));
    }
    list
}

/// The processes whose loss means the loss of `node`.
pub fn processes_of_node(cluster: &Cluster, node: &Node) -> Vec<Process> {
    processes(cluster).into_iter().filter(|p| p.netns.as_ref() == Some(&node.netns())).collect()
}

fn on_node(cluster: &Cluster, node: &Node, name: &str, argv: Vec<String>) -> Process {
    let cgroup = format!("{}/daemons", cluster.node_cgroup(node));
    Process { name: name.into(), argv, netns: Some(node.netns()), cgroup }
}

fn per_node(cluster: &Cluster, node: &Node, name: &str, argv: Vec<String>) -> Process {
    on_node(cluster, node, &format!("{name}.{}", node.name), argv)
}

fn containerd(cluster: &Cluster, node: &Node) -> Process {
    let config = cluster.node_dir(node).join("containerd.toml");
    per_node(cluster, node, "containerd", words(&["containerd", "--config", &config.display().to_string()]))
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

fn ours(cluster: &Cluster, name: &str, flags: Vec<String>) -> Vec<String> {
    let mut argv = vec![cluster.bin_dir.join(name).display().to_string()];
    argv.extend(flags);
    argv
}

fn etcd(cluster: &Cluster) -> Vec<String> {
    let data = cluster.state_dir().join("etcd");
    words(&["etcd", "--data-dir", &data.display().to_string(), "--listen-client-urls", "http://127.0.0.1:2379"])
        .into_iter()
        .chain(words(&[
            "--advertise-client-urls",
            "http://127.0.0.1:2379",
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
        ]))
        .collect()
}

fn apiserver(cluster: &Cluster) -> Vec<String> {
    let pki = |file: &str| cluster.pki_dir().join(file).display().to_string();
    let store = if cluster.etcd {
        "--etcd-servers=http://127.0.0.1:2379".to_owned()
    } else {
        format!("--data-dir={}", cluster.state_dir().join("store").display())
    };
    ours(
        cluster,
        "kube-apiserver",
        vec![
            store,
            format!("--advertise-address={}", cluster.control_plane()),
            "--secure-port=6443".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--enable-bootstrap-token-auth=true".into(),
            format!("--service-cluster-ip-range={SERVICE_CIDR}"),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--tls-cert-file={}", pki("apiserver.crt")),
            format!("--tls-private-key-file={}", pki("apiserver.key")),
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("apiserver-kubelet-client.crt")),
            format!("--kubelet-client-key={}", pki("apiserver-kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP,Hostname".into(),
            format!("--service-account-key-file={}", pki("sa.pub")),
            format!("--service-account-signing-key-file={}", pki("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            format!("--requestheader-client-ca-file={}", pki("front-proxy-ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".into(),
            "--requestheader-username-headers=X-Remote-User".into(),
            "--requestheader-group-headers=X-Remote-Group".into(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
            format!("--proxy-client-cert-file={}", pki("front-proxy-client.crt")),
            format!("--proxy-client-key-file={}", pki("front-proxy-client.key")),
        ],
    )
}

fn controller_manager(cluster: &Cluster) -> Vec<String> {
    let pki = |file: &str| cluster.pki_dir().join(file).display().to_string();
    let mut flags = manager_flags(cluster, "kube-controller-manager");
    flags.extend([
        "--allocate-node-cidrs=true".into(),
        format!("--cluster-cidr={POD_CIDR}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--use-service-account-credentials=true".into(),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        format!("--service-account-private-key-file={}", pki("sa.key")),
    ]);
    ours(cluster, "kube-controller-manager", flags)
}

fn scheduler(cluster: &Cluster) -> Vec<String> {
    let pki = |file: &str| cluster.pki_dir().join(file).display().to_string();
    let mut flags = manager_flags(cluster, "kube-scheduler");
    // Its answers to `kubectl explain-pending` can be verified.
    flags.extend([
        format!("--tls-cert-file={}", pki("scheduler.crt")),
        format!("--tls-private-key-file={}", pki("scheduler.key")),
    ]);
    ours(cluster, "kube-scheduler", flags)
}

fn cloud_controller_manager(cluster: &Cluster) -> Vec<String> {
    let mut flags = manager_flags(cluster, "cloud-controller-manager");
    flags.extend([
        "--cloud-provider=local".into(),
        format!("--cloud-config={}", cloud_config_file(cluster).display()),
        format!("--cluster-cidr={POD_CIDR}"),
        "--allocate-node-cidrs=true".into(),
        "--configure-cloud-routes=true".into(),
        // Several clusters share the host's network.
        format!("--secure-port={}", 12_000 + u32::from(cluster.index)),
    ]);
    ours(cluster, "cloud-controller-manager", flags)
}

/// Flags of every component that is elected by Lease and serves its own port to those the API server knows.
fn manager_flags(cluster: &Cluster, name: &str) -> Vec<String> {
    let kubeconfig = cluster.kubeconfig(name).display().to_string();
    let cert_dir = cluster.state_dir().join("certs").join(name);
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--client-ca-file={}", cluster.pki_dir().join("ca.crt").display()),
        format!("--cert-dir={}", cert_dir.display()),
        "--leader-elect=true".into(),
    ]
}

fn kubelet(cluster: &Cluster, node: &Node) -> Vec<String> {
    let dir = cluster.node_dir(node);
    let mut flags = vec![
        format!("--config={}", dir.join("kubelet.yaml").display()),
        format!("--kubeconfig={}", dir.join("kubelet.kubeconfig").display()),
        format!("--cert-dir={}", dir.join("kubelet-pki").display()),
        format!("--root-dir={}", dir.join("kubelet").display()),
        format!("--hostname-override={}", node.name),
        format!("--node-ip={}", node.address),
        "--cloud-provider=external".into(),
    ];
    if node.role == Role::Worker {
        flags.push(format!("--bootstrap-kubeconfig={}", cluster.kubeconfig("bootstrap").display()));
    } else {
        flags.push("--register-with-taints=node-role.kubernetes.io/control-plane=:NoSchedule".into());
    }
    ours(cluster, "kubelet", flags)
}

fn proxy(cluster: &Cluster, node: &Node) -> Vec<String> {
    let flags = vec![
        format!("--kubeconfig={}", cluster.kubeconfig("kube-proxy").display()),
        format!("--hostname-override={}", node.name),
        format!("--cluster-cidr={POD_CIDR}"),
        "--proxy-mode=iptables".into(),
    ];
    ours(cluster, "kube-proxy", flags)
}

fn cloud_config_file(cluster: &Cluster) -> PathBuf {
    cluster.state_dir().join("cloud.yaml")
}

/// Writes all kubeconfigs and configuration files. `bootstrap_token` is `id.secret`.
pub fn write_files(cluster: &Cluster, bootstrap_token: &str) -> Result<()> {
    fs::create_dir_all(cluster.kubeconfig("x").parent().context("kubeconfig directory")?)?;
    let pki = cluster.pki_dir();
    for (name, _, _) in CLIENTS {
        let user = json!({
            "client-certificate": pki.join(format!("{name}.crt")),
            "client-key": pki.join(format!("{name}.key")),
        });
        pki::write_private(&cluster.kubeconfig(name), &kubeconfig(cluster, name, &user))?;
    }
    let token = kubeconfig(cluster, "bootstrap", &json!({"token": bootstrap_token}));
    pki::write_private(&cluster.kubeconfig("bootstrap"), &token)?;
    for node in cluster.nodes() {
        write_node_files(cluster, &node)?;
    }
    fs::write(cloud_config_file(cluster), yaml(&cloud_config(cluster))?).context("write cloud.yaml")
}

fn write_node_files(cluster: &Cluster, node: &Node) -> Result<()> {
    let dir = cluster.node_dir(node);
    for sub in ["kubelet", "manifests", "pod-logs"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    fs::write(dir.join("kubelet.yaml"), yaml(&kubelet_config(cluster, node))?)?;
    if node.role == Role::ControlPlane {
        let pki = cluster.pki_dir();
        let user = json!({
            "client-certificate": pki.join(format!("node-{}.crt", node.name)),
            "client-key": pki.join(format!("node-{}.key", node.name)),
        });
        pki::write_private(&dir.join("kubelet.kubeconfig"), &kubeconfig(cluster, &node.name, &user))?;
    }
    Ok(())
}

fn kubeconfig(cluster: &Cluster, user: &str, credentials: &serde_json::Value) -> String {
    let context = format!("keelson-{}", cluster.name);
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {
            "server": cluster.server_url(),
            "certificate-authority": cluster.pki_dir().join("ca.crt"),
        }}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    });
    // JSON is YAML, and every client reads it.
    format!("{file:#}\n")
}

fn yaml(value: &serde_json::Value) -> Result<String> {
    serde_yaml::to_string(value).context("write YAML")
}

fn kubelet_config(cluster: &Cluster, node: &Node) -> serde_json::Value {
    let (dir, pki) = (cluster.node_dir(node), cluster.pki_dir());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join(format!("kubelet-{}.crt", node.name)),
        "tlsPrivateKeyFile": pki.join(format!("kubelet-{}.key", node.name)),
        "rotateCertificates": true,
        "containerRuntimeEndpoint": format!("unix://{}", cluster.containerd_socket(node).display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cluster.node_cgroup(node)),
        "clusterDomain": "cluster.local",
        // Nodes share the machine's disk: its filling up is no reason to move pods from one to another.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        "podLogsDir": dir.join("pod-logs"),
        "staticPodPath": dir.join("manifests"),
    })
}

fn cloud_config(cluster: &Cluster) -> serde_json::Value {
    let (start, end) = cluster.load_balancer_range();
    let instance = |node: Node| json!({"name": node.name, "address": node.address, "netns": node.netns(), "zone": node.zone, "instanceType": "netns"});
    json!({
        "apiVersion": "keelson.dev/v1alpha1",
        "kind": "LocalCloudConfig",
        "region": "local",
        "bridge": cluster.bridge(),
        "loadBalancerRange": {"start": start, "end": end},
        "instances": cluster.nodes().into_iter().map(instance).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster { name: "dev".into(), index: 0, workers: 2, etcd: true, bin_dir: "/opt".into() }
    }

    #[test]
    fn every_process_has_a_name_of_its_own() {
        let mut names: Vec<String> = processes(&cluster()).into_iter().map(|p| p.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        // 3 x (containerd, kubelet, kube-proxy), etcd, apiserver, controller-manager, scheduler, cloud-controller-manager
        assert_eq!(all, 14);
    }

    #[test]
    fn a_worker_is_three_processes_and_asks_for_its_certificate() {
        let cluster = cluster();
        let worker = &cluster.nodes()[1];
        let list = processes_of_node(&cluster, worker);
        let names: Vec<_> = list.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["containerd.dev-worker", "kubelet.dev-worker", "kube-proxy.dev-worker"]);
        assert!(list[1].argv.iter().any(|a| a.starts_with("--bootstrap-kubeconfig=")));
    }
}
