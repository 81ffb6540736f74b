//! Flags and the configuration file to [`Config`]. With `--config` the file counts, and of the flags only those that it has no
//! field for, as in upstream.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use component_base::{duration::parse_duration, flags::Flags};

use crate::{
    config::{Config, DetectLocal, KubeProxyConfiguration},
    model::Family,
    sysctl::Conntrack,
};

/// Upstream's flags.
pub const TABLE: &str = include_str!("flags.txt");

/// What the process runs with.
#[derive(Debug)]
pub struct Options {
    /// How traffic is proxied.
    pub proxy: Config,
    /// How to reach the API server.
    pub kubeconfig: Option<PathBuf>,
    /// Overrides the kubeconfig's server.
    pub master: String,
    /// Where `/healthz` is answered.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` is answered.
    pub metrics: Option<SocketAddr>,
    /// Connection tracking of the kernel.
    pub conntrack: Conntrack,
    /// Only remove what the proxy made.
    pub clean_up: bool,
    /// Only set up what needs privileges.
    pub init_only: bool,
    /// How readily the kernel kills the process.
    pub oom_score: i64,
}

/// Reads flags and the file that `--config` names.
///
/// # Errors
/// Names the flag, the file or the field that cannot be used.
pub fn options(flags: &Flags) -> anyhow::Result<Options> {
    let file = match flags.opt("config") {
        Some(path) => read(Path::new(path))?,
        None => from_flags(flags),
    };
    match file.mode.as_str() {
        "" | "iptables" => {}
        "nftables" | "ipvs" => bail!("proxy mode {:?} is not supported: use iptables", file.mode),
        other => bail!("unknown proxy mode {other:?}: want iptables"),
    }
    let duration = |text: &str, default: u64| {
        if text.is_empty() {
            Ok(Duration::from_secs(default))
        } else {
            parse_duration(text).map_err(|e| anyhow::anyhow!("{e}"))
        }
    };
    let masquerade_bit = file.iptables.masquerade_bit.unwrap_or(14);
    if !(0..=31).contains(&masquerade_bit) {
        bail!("masquerade bit {masquerade_bit}: must be within the range [0, 31]");
    }
    let cluster_cidrs: Vec<String> =
        file.cluster_cidr.split(',').map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect();
    let min_sync_period = duration(&file.iptables.min_sync_period, 1).context("minSyncPeriod")?;
    let sync_period = duration(&file.iptables.sync_period, 30).context("syncPeriod")?;
    if sync_period.is_zero() || min_sync_period > sync_period {
        bail!("the sync period must be greater than 0 and not less than the minimal one");
    }
    let proxy = Config {
        node_name: node_name(flags, &file)?,
        families: families(&cluster_cidrs),
        cluster_cidrs,
        detect_local: detect_local(&file)?,
        masquerade_all: file.iptables.masquerade_all,
        masquerade_bit: u32::try_from(masquerade_bit)?,
        localhost_node_ports: file.iptables.localhost_node_ports.unwrap_or(true),
        node_port_addresses: file.node_port_addresses.clone(),
        min_sync_period,
        sync_period,
        conntrack_be_liberal: file.conntrack.tcp_be_liberal,
    };
    let text =
        |own: &str, flag: &str| if own.is_empty() { flags.opt(flag).map(str::to_owned) } else { Some(own.to_owned()) };
    Ok(Options {
        proxy,
        kubeconfig: text(&file.client_connection.kubeconfig, "kubeconfig").map(PathBuf::from),
        master: flags.get("master").to_owned(),
        healthz: address(&file.healthz_bind_address, 10256).context("healthzBindAddress")?,
        metrics: address(&file.metrics_bind_address, 10249).context("metricsBindAddress")?,
        conntrack: Conntrack::new(&file.conntrack)?,
        clean_up: flags.bool("cleanup"),
        init_only: flags.bool("init-only"),
        oom_score: flags.int("oom-score-adj"),
    })
}

fn read(path: &Path) -> anyhow::Result<KubeProxyConfiguration> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    let file: KubeProxyConfiguration =
        serde_yaml::from_str(&text).with_context(|| format!("--config: {}", path.display()))?;
    if file.api_version != "kubeproxy.config.k8s.io/v1alpha1" || file.kind != "KubeProxyConfiguration" {
        bail!("--config: {}: want kind KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1", path.display());
    }
    const KNOWN: [&str; 14] = [
        "bindAddress",
        "bindAddressHardFail",
        "configSyncPeriod",
        "enableProfiling",
        "featureGates",
        "ipvs",
        "logging",
        "nftables",
        "oomScoreAdj",
        "portRange",
        "showHiddenMetricsForVersion",
        "windowsRunAsService",
        "winkernel",
        "windows",
    ];
    for field in file.others.keys() {
        if !KNOWN.contains(&field.as_str()) {
            bail!("--config: {}: unknown field {field:?}", path.display());
        }
        tracing::warn!(field, "this field of the configuration has no effect");
    }
    Ok(file)
}

fn from_flags(flags: &Flags) -> KubeProxyConfiguration {
    let text = |flag: &str| flags.get(flag).to_owned();
    let mut file = KubeProxyConfiguration {
        mode: text("proxy-mode"),
        hostname_override: text("hostname-override"),
        cluster_cidr: text("cluster-cidr"),
        healthz_bind_address: text("healthz-bind-address"),
        metrics_bind_address: text("metrics-bind-address"),
        detect_local_mode: text("detect-local-mode"),
        node_port_addresses: flags.list("nodeport-addresses"),
        ..KubeProxyConfiguration::default()
    };
    file.iptables.masquerade_all = flags.bool("masquerade-all");
    file.iptables.masquerade_bit = Some(flags.int("iptables-masquerade-bit"));
    file.iptables.localhost_node_ports = Some(flags.bool("iptables-localhost-nodeports"));
    file.iptables.min_sync_period = text("iptables-min-sync-period");
    file.iptables.sync_period = text("iptables-sync-period");
    file.conntrack.max_per_core = Some(flags.int("conntrack-max-per-core"));
    file.conntrack.min = Some(flags.int("conntrack-min"));
    file.conntrack.tcp_be_liberal = flags.bool("conntrack-tcp-be-liberal");
    file.conntrack.tcp_established_timeout = text("conntrack-tcp-timeout-established");
    file.conntrack.tcp_close_wait_timeout = text("conntrack-tcp-timeout-close-wait");
    file.conntrack.udp_timeout = text("conntrack-udp-timeout");
    file.conntrack.udp_stream_timeout = text("conntrack-udp-timeout-stream");
    file.detect_local.bridge_interface = text("pod-bridge-interface");
    file.detect_local.interface_name_prefix = text("pod-interface-name-prefix");
    file
}

fn node_name(flags: &Flags, file: &KubeProxyConfiguration) -> anyhow::Result<String> {
    let given = [flags.get("hostname-override"), &file.hostname_override]
        .into_iter()
        .find(|n| !n.is_empty())
        .map(str::to_owned);
    match given {
        Some(name) => Ok(name.trim().to_lowercase()),
        None => {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
            Ok(name.trim().to_lowercase())
        }
    }
}

/// IPv4 always, IPv6 where the cluster has pods with such addresses.
fn families(cluster_cidrs: &[String]) -> Vec<Family> {
    let has = |family: Family| cluster_cidrs.iter().any(|c| family.has(c));
    let mut families = Vec::new();
    if has(Family::V4) || !has(Family::V6) {
        families.push(Family::V4);
    }
    if has(Family::V6) {
        families.push(Family::V6);
    }
    families
}

fn detect_local(file: &KubeProxyConfiguration) -> anyhow::Result<DetectLocal> {
    let named = |name: &str, field: &str| {
        if name.is_empty() { bail!("{field} must be set in this detect-local-mode") } else { Ok(name.to_owned()) }
    };
    let interfaces = &file.detect_local;
    Ok(match file.detect_local_mode.as_str() {
        "" | "ClusterCIDR" => DetectLocal::ClusterCidr,
        "NodeCIDR" => DetectLocal::NodeCidr,
        "BridgeInterface" => DetectLocal::BridgeInterface(named(&interfaces.bridge_interface, "pod-bridge-interface")?),
        "InterfaceNamePrefix" => {
            DetectLocal::InterfacePrefix(named(&interfaces.interface_name_prefix, "pod-interface-name-prefix")?)
        }
        other => bail!("unknown detect-local-mode {other:?}"),
    })
}

/// An address with or without a port; none where it is empty or the port is 0.
fn address(text: &str, port: u16) -> anyhow::Result<Option<SocketAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: SocketAddr = match text.parse() {
        Ok(address) => address,
        Err(_) => SocketAddr::new(text.parse().with_context(|| format!("{text:?} is no address"))?, port),
    };
    Ok((parsed.port() != 0).then_some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Options> {
        options(&Flags::parse("kube-proxy", TABLE, args.iter().map(|a| (*a).to_owned()))?)
    }

    #[test]
    fn defaults_are_upstreams() {
        let options = parse(&["--hostname-override=N1", "--cluster-cidr=10.0.0.0/16,fd00::/64"]).unwrap();
        assert_eq!(options.proxy.node_name, "n1");
        assert_eq!(options.proxy.families, [Family::V4, Family::V6]);
        assert_eq!(options.healthz.unwrap().port(), 10256);
        assert_eq!(options.metrics.unwrap().to_string(), "127.0.0.1:10249");
        assert_eq!(options.proxy.sync_period, Duration::from_secs(30));
        assert!(parse(&["--healthz-bind-address=0.0.0.0:0"]).unwrap().healthz.is_none());
    }

    #[test]
    fn mistakes_are_named() {
        for (args, part) in [
            (&["--proxy-mode=ipvs"][..], "ipvs"),
            (&["--iptables-masquerade-bit=32"], "[0, 31]"),
            (&["--detect-local-mode=BridgeInterface"], "pod-bridge-interface"),
            (&["--detect-local-mode=Guess"], "Guess"),
            (&["--config=/does/not/exist"], "/does/not/exist"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }

    #[test]
    fn the_file_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.yaml");
        let with = |text: &str| {
            std::fs::write(
                &path,
                format!("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n{text}"),
            )
            .unwrap();
            parse(&[&format!("--config={}", path.display())])
        };
        let options = with("clusterCIDR: 10.9.0.0/16\nbindAddress: 0.0.0.0\niptables: {syncPeriod: 10s}\nclientConnection: {kubeconfig: /k}\n").unwrap();
        assert_eq!(options.proxy.cluster_cidrs, ["10.9.0.0/16"]);
        assert_eq!(options.proxy.sync_period, Duration::from_secs(10));
        assert_eq!(options.kubeconfig, Some("/k".into()));
        assert!(with("noSuchField: 1\n").is_err());
    }
}
