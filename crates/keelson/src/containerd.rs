//! A node's containerd: its configuration and its CNI network.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{
    images::PAUSE_IMAGE,
    spec::{Cluster, Node},
};

/// Linux capability number of CAP_SYS_RESOURCE, see capabilities(7).
const CAP_SYS_RESOURCE: u32 = 24;

/// Writes the configuration of the node's containerd.
pub(crate) fn write_config(cluster: &Cluster, node: &Node) -> Result<()> {
    let dir = cluster.node_dir(node);
    for path in [dir.join("cni/net.d"), dir.join("containerd"), cluster.run_dir().join(&node.name)] {
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
    }
    fs::write(dir.join("cni/template.conflist"), cni_template(&dir.join("cni/state")))?;
    let text = config(cluster, node, cni_plugins()?, !may_lower_oom_score()?);
    fs::write(dir.join("containerd.toml"), text).context("write containerd.toml")
}

/// Directory of the standard CNI plugins: Debian's package, or upstream's usual place.
fn cni_plugins() -> Result<&'static str> {
    match ["/usr/lib/cni", "/opt/cni/bin"].into_iter().find(|d| Path::new(d).join("ptp").exists()) {
        Some(dir) => Ok(dir),
        None => bail!("the CNI plugins are not installed (looked for `ptp` in /usr/lib/cni and /opt/cni/bin)"),
    }
}

/// Without CAP_SYS_RESOURCE a negative OOM score is refused by the kernel, and no sandbox would start.
fn may_lower_oom_score() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|l| l.strip_prefix("CapEff:")).context("no CapEff in /proc/self/status")?;
    Ok(u64::from_str_radix(mask.trim(), 16)? >> CAP_SYS_RESOURCE & 1 == 1)
}

/// Configuration version 2: read by containerd 1.6, 1.7 and 2.x alike.
fn config(cluster: &Cluster, node: &Node, cni_bin: &str, restrict_oom_score: bool) -> String {
    let (dir, run) = (cluster.node_dir(node), cluster.run_dir().join(&node.name));
    let (dir, run, socket) = (dir.display(), run.display(), cluster.containerd_socket(node));
    let socket = socket.display();
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restrict_oom_score}
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_bin}"
  conf_dir = "{dir}/cni/net.d"
  conf_template = "{dir}/cni/template.conflist"
  max_conf_num = 1

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"#
    )
}

/// The pod network: a routed veth pair per pod (`ptp`), so that all traffic passes the proxy's rules; addresses from the node's
/// pod range, which the kubelet hands to containerd.
fn cni_template(state: &Path) -> String {
    let template = serde_json::json!({
        "cniVersion": "0.3.1",
        "name": "keelson",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": state,
                    "ranges": [[{"subnet": "{{.PodCIDR}}"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    format!("{template:#}\n")
}
