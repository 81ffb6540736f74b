//! What the proxy runs with, from flags and `KubeProxyConfiguration` (v1alpha1).

use std::{net::IpAddr, time::Duration};

use api_types::k8s_openapi::api::core::v1::Node as ApiNode;
use component_helpers::nodes;
use serde::Deserialize;

use crate::{
    iptables::{LocalTraffic, Settings, contains},
    model::{Family, Node},
};

/// How the traffic of the node's pods is told from other traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// By the cluster's pod ranges (where there are none, not at all).
    ClusterCidr,
    /// By the node's own pod ranges.
    NodeCidr,
    /// By the bridge it comes in by.
    BridgeInterface(String),
    /// By the beginning of the name of the interface it comes in by.
    InterfacePrefix(String),
}

/// The configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The cluster's pod ranges.
    pub cluster_cidrs: Vec<String>,
    /// How pods' traffic is recognised.
    pub detect_local: DetectLocal,
    /// Masquerade everything that goes to a cluster IP.
    pub masquerade_all: bool,
    /// The bit that marks packets for masquerading.
    pub masquerade_bit: u32,
    /// Whether node ports answer on the loopback address.
    pub localhost_node_ports: bool,
    /// Ranges of the addresses that node ports answer on; empty is all, `primary` is the node's own address.
    pub node_port_addresses: Vec<String>,
    /// The time between two passes at least.
    pub min_sync_period: Duration,
    /// How often the tables are looked after.
    pub sync_period: Duration,
    /// Whether packets out of a connection's window are let pass.
    pub conntrack_be_liberal: bool,
    /// Families to serve.
    pub families: Vec<Family>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            node_name: String::new(),
            cluster_cidrs: Vec::new(),
            detect_local: DetectLocal::ClusterCidr,
            masquerade_all: false,
            masquerade_bit: 14,
            localhost_node_ports: true,
            node_port_addresses: Vec::new(),
            min_sync_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(30),
            conntrack_be_liberal: false,
            families: vec![Family::V4],
        }
    }
}

/// Settings of either family.
pub(crate) struct BothSettings<'a> {
    config: &'a Config,
    node: &'a Node,
}

impl Config {
    /// What the proxy knows of its node, from the object where there is one.
    #[must_use]
    pub fn node(&self, object: Option<&ApiNode>) -> Node {
        let Some(object) = object else { return Node { name: self.node_name.clone(), ..Node::default() } };
        let labels = object.metadata.labels.as_ref();
        let spec = object.spec.as_ref();
        let first: Vec<String> = spec.and_then(|s| s.pod_cidr.clone()).into_iter().collect();
        Node {
            name: self.node_name.clone(),
            zone: labels.and_then(|l| l.get("topology.kubernetes.io/zone").cloned()),
            addresses: nodes::addresses(object, "InternalIP").iter().filter_map(|a| a.parse().ok()).collect(),
            pod_cidrs: spec.and_then(|s| s.pod_cidrs.clone()).unwrap_or(first),
        }
    }

    pub(crate) fn settings<'a>(&'a self, node: &'a Node) -> BothSettings<'a> {
        BothSettings { config: self, node }
    }
}

impl BothSettings<'_> {
    pub(crate) fn of(&self, family: Family) -> Settings {
        let (config, node) = (self.config, self.node);
        let cidr = |all: &[String]| {
            all.iter().find(|c| family.has(c)).cloned().map_or(LocalTraffic::Unknown, LocalTraffic::Cidr)
        };
        let local = match &config.detect_local {
            DetectLocal::ClusterCidr => cidr(&config.cluster_cidrs),
            DetectLocal::NodeCidr => cidr(&node.pod_cidrs),
            DetectLocal::BridgeInterface(name) => LocalTraffic::Interface(name.clone()),
            DetectLocal::InterfacePrefix(prefix) => LocalTraffic::Interface(format!("{prefix}+")),
        };
        let of_family = |ips: &[IpAddr]| ips.iter().copied().filter(|ip| Family::of(*ip) == family).collect::<Vec<_>>();
        Settings {
            masquerade_all: config.masquerade_all,
            masquerade_mark: 1 << config.masquerade_bit,
            random_fully: true,
            conntrack_be_liberal: config.conntrack_be_liberal,
            local,
            localhost_node_ports: config.localhost_node_ports && family == Family::V4,
            node_port_addresses: of_family(&self.node_port_addresses()),
            node_ips: of_family(&node.addresses),
        }
    }

    fn node_port_addresses(&self) -> Vec<IpAddr> {
        let ranges = &self.config.node_port_addresses;
        if ranges.iter().any(|r| r == "primary") {
            return self.node.addresses.clone();
        }
        if ranges.is_empty() || ranges.iter().any(|r| r == "0.0.0.0/0" || r == "::/0") {
            return Vec::new();
        }
        let own = local_addresses().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the addresses of the node's interfaces");
            self.node.addresses.clone()
        });
        own.into_iter().filter(|ip| ranges.iter().any(|range| contains(range, *ip))).collect()
    }
}

fn local_addresses() -> nix::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
    };
    Ok(interfaces.filter_map(|i| i.address.and_then(ip)).collect())
}

/// `KubeProxyConfiguration`. Fields that are not acted on are accepted and named in the log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KubeProxyConfiguration {
    /// `kubeproxy.config.k8s.io/v1alpha1`.
    pub api_version: String,
    /// `KubeProxyConfiguration`.
    pub kind: String,
    /// The mode: only `iptables` (or empty).
    pub mode: String,
    /// The node's name.
    pub hostname_override: String,
    /// The cluster's pod ranges, comma-separated.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// How to reach the API server.
    pub client_connection: ClientConnection,
    /// Where health checks are answered.
    pub healthz_bind_address: String,
    /// Where metrics are answered.
    pub metrics_bind_address: String,
    /// Settings of this mode.
    pub iptables: IptablesConfig,
    /// Connection tracking.
    pub conntrack: ConntrackConfig,
    /// How pods' traffic is recognised.
    pub detect_local_mode: String,
    /// The interfaces for it.
    pub detect_local: DetectLocalConfig,
    /// Ranges of the addresses that node ports answer on.
    pub node_port_addresses: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub others: std::collections::BTreeMap<String, serde_json::Value>,
}

/// The client in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientConnection {
    /// The kubeconfig.
    pub kubeconfig: String,
}

/// The iptables mode in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct IptablesConfig {
    /// Masquerade everything that goes to a cluster IP.
    pub masquerade_all: bool,
    /// The bit that marks packets for masquerading.
    pub masquerade_bit: Option<i64>,
    /// Whether node ports answer on the loopback address.
    pub localhost_node_ports: Option<bool>,
    /// The time between two passes at least.
    pub min_sync_period: String,
    /// How often the tables are looked after.
    pub sync_period: String,
}

/// Connection tracking in the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ConntrackConfig {
    /// The table's size per core.
    pub max_per_core: Option<i64>,
    /// The table's size at least.
    pub min: Option<i64>,
    /// Whether packets out of a connection's window are let pass.
    pub tcp_be_liberal: bool,
    /// How long an idle connection is remembered.
    pub tcp_established_timeout: String,
    /// How long a half-closed connection is remembered.
    pub tcp_close_wait_timeout: String,
    /// How long UDP is remembered.
    pub udp_timeout: String,
    /// How long UDP with answers is remembered.
    pub udp_stream_timeout: String,
}

/// Interfaces by which pods' traffic is recognised.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DetectLocalConfig {
    /// The bridge.
    pub bridge_interface: String,
    /// The beginning of the names.
    pub interface_name_prefix: String,
}
