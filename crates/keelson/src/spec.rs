//! What a local cluster consists of: names, addresses, directories. Pure; everything else is derived from it.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// Cluster IPs. The same in every cluster: each lives in network namespaces of its own.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The `kubernetes` service: the first address of [`SERVICE_CIDR`].
pub const KUBERNETES_SERVICE_IP: &str = "10.96.0.1";
/// Addresses of pods; each node gets a /24.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// More nodes than this do not fit beside the load-balancer addresses.
pub const MAX_WORKERS: usize = 50;

/// One local cluster, as written to `cluster.json` when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    /// Number of this cluster on the machine; its node subnet is `172.30.<index>.0/24`.
    pub index: u8,
    pub workers: usize,
    /// State in a real etcd instead of the API server's embedded store.
    pub etcd: bool,
    /// Where the binaries are.
    pub bin_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    ControlPlane,
    Worker,
}

/// One node: a network namespace with its own containerd, kubelet and kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub role: Role,
    pub address: Ipv4Addr,
    pub zone: String,
}

impl Cluster {
    /// Checks what the user chose.
    pub fn validate(&self) -> Result<()> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = &self.name;
        if name.is_empty()
            || name.len() > 20
            || !name.chars().all(valid)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            bail!(
                "cluster name {name:?} must be 1 to 20 characters of a-z, 0-9 and '-', with a letter or digit at both ends"
            );
        }
        if self.workers > MAX_WORKERS {
            bail!("{} workers asked for, at most {MAX_WORKERS} are possible", self.workers);
        }
        Ok(())
    }

    /// The control-plane node first, then the workers.
    pub fn nodes(&self) -> Vec<Node> {
        let node = |i: usize| Node {
            name: match i {
                0 => format!("{}-control-plane", self.name),
                1 => format!("{}-worker", self.name),
                _ => format!("{}-worker{i}", self.name),
            },
            role: if i == 0 { Role::ControlPlane } else { Role::Worker },
            address: self.address(2 + i as u8),
            zone: format!("local-{}", char::from(b'a' + (i % 3) as u8)),
        };
        (0..=self.workers).map(node).collect()
    }

    pub fn node(&self, name: &str) -> Option<Node> {
        self.nodes().into_iter().find(|n| n.name == name)
    }

    /// The control-plane node's address, where the API server listens.
    pub fn control_plane(&self) -> Ipv4Addr {
        self.address(2)
    }

    /// The host's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// First and last address for services of type LoadBalancer.
    pub fn load_balancer_range(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.address(200), self.address(250))
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, self.index, host)
    }

    /// The Linux bridge that joins the nodes.
    pub fn bridge(&self) -> String {
        format!("keelson{}", self.index)
    }

    /// The routing table that keeps the nodes' packets from leaving the machine.
    pub fn routing_table(&self) -> u32 {
        17_300 + u32::from(self.index)
    }

    pub fn server_url(&self) -> String {
        format!("https://{}:6443", self.control_plane())
    }

    pub fn state_dir(&self) -> PathBuf {
        Self::state_root().join(&self.name)
    }

    /// All clusters' state.
    pub fn state_root() -> PathBuf {
        PathBuf::from("/var/lib/keelson")
    }

    /// Sockets, pid files and desired state of processes: gone after a reboot.
    pub fn run_dir(&self) -> PathBuf {
        Path::new("/run/keelson").join(&self.name)
    }

    pub fn log_dir(&self) -> PathBuf {
        Path::new("/var/log/keelson").join(&self.name)
    }

    pub fn pki_dir(&self) -> PathBuf {
        self.state_dir().join("pki")
    }

    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.state_dir().join("kubeconfigs").join(format!("{user}.kubeconfig"))
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// Persistent data of one node.
    pub fn node_dir(&self, node: &Node) -> PathBuf {
        self.state_dir().join("nodes").join(&node.name)
    }

    pub fn containerd_socket(&self, node: &Node) -> PathBuf {
        self.run_dir().join(&node.name).join("containerd.sock")
    }

    /// The control group of everything that belongs to the cluster, relative to a hierarchy's root.
    pub fn cgroup(&self) -> String {
        format!("keelson/{}", self.name)
    }

    pub fn node_cgroup(&self, node: &Node) -> String {
        format!("{}/{}", self.cgroup(), node.name)
    }
}

impl Node {
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

/// The smallest cluster number that is free.
pub fn free_index(taken: &[u8]) -> Result<u8> {
    match (0..=250).find(|i| !taken.contains(i)) {
        Some(index) => Ok(index),
        None => bail!("no subnet is left for a further cluster"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, workers: usize) -> Cluster {
        Cluster { name: name.into(), index: 1, workers, etcd: false, bin_dir: "/bin".into() }
    }

    #[test]
    fn nodes_are_named_and_addressed() {
        let nodes = cluster("dev", 2).nodes();
        let seen: Vec<_> = nodes.iter().map(|n| (n.name.as_str(), n.address.to_string())).collect();
        let expected =
            [("dev-control-plane", "172.30.1.2"), ("dev-worker", "172.30.1.3"), ("dev-worker2", "172.30.1.4")];
        assert_eq!(seen, expected.map(|(n, a)| (n, a.to_owned())));
    }

    #[test]
    fn bad_choices_are_refused() {
        assert!(cluster("dev", MAX_WORKERS).validate().is_ok());
        for name in ["", "-a", "a/b", "A", "a-cluster-name-too-long"] {
            assert!(cluster(name, 1).validate().is_err(), "{name}");
        }
        assert!(cluster("dev", MAX_WORKERS + 1).validate().is_err());
    }

    #[test]
    fn subnets_are_reused() {
        assert_eq!(free_index(&[0, 1, 3]).unwrap(), 2);
        assert!(free_index(&(0..=250).collect::<Vec<_>>()).is_err());
    }
}
