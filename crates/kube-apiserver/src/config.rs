//! The validated configuration: what can't be served is refused here, before anything starts.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use apiserver::audit::{Policy, log};
use component_base::{feature_gates::FeatureGates, flags::Flags};

use crate::{
    admission::Configurations, auth::AuthConfig, connect::KubeletOptions, encryption::EncryptionOptions,
    ip_range::IpRange, runtime_config::RuntimeConfig,
};

/// Where the cluster's state lives.
#[derive(Clone, Debug)]
pub enum Backend {
    /// The store in this process, its file in this directory.
    Embedded(PathBuf),
    Etcd {
        servers: Vec<String>,
        ca: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        compaction: Duration,
    },
}

#[derive(Clone, Debug)]
pub struct Config {
    pub bind_address: IpAddr,
    pub secure_port: u16,
    /// What clients inside the cluster reach this server at.
    pub advertise_address: IpAddr,
    pub cert_dir: PathBuf,
    /// Certificate and key; made in `cert_dir` when absent.
    pub serving: Option<(PathBuf, PathBuf)>,
    pub client_ca: Option<PathBuf>,
    pub backend: Backend,
    /// Bytes that encoded forms of objects may take in memory.
    pub encoded_cache: usize,
    /// What is told of requests, and where.
    pub audit: Option<(Policy, log::Options)>,
    /// How values are encrypted in it.
    pub encryption: Option<EncryptionOptions>,
    pub request_timeout: Duration,
    /// `--enable-aggregator-routing`: services of webhooks and aggregated API servers are reached at an endpoint, not at their address.
    pub services_by_endpoints: bool,
    /// Certificate and key that prove to aggregated API servers that requests come through this server.
    pub proxy_client: Option<(PathBuf, PathBuf)>,
    /// `--aggregator-reject-forwarding-redirect`.
    pub rejects_redirects: bool,
    /// Whether priority and fairness share out the requests that run at once.
    pub fairness: bool,
    pub max_reading: usize,
    pub max_mutating: usize,
    pub cors: Vec<regex::Regex>,
    pub event_ttl: Duration,
    pub service_ips: Vec<IpRange>,
    pub node_ports: (u16, u16),
    pub shutdown_delay: Duration,
    pub enable_plugins: Vec<String>,
    pub disable_plugins: Vec<String>,
    pub(crate) admission: Configurations,
    pub gates: FeatureGates,
    pub not_ready_seconds: i64,
    pub unreachable_seconds: i64,
    pub auth: AuthConfig,
    pub kubelet: KubeletOptions,
    /// Which built-in APIs are served.
    pub apis: RuntimeConfig,
}

/// Flags that ask for a guard, a record or another place for the data: ignoring them would be worse than refusing.
const NOT_YET: [&str; 3] = ["audit-webhook-config-file", "egress-selector-config-file", "etcd-servers-overrides"];

impl Config {
    pub fn from_flags(flags: &Flags) -> Result<Config> {
        for name in NOT_YET {
            if flags.opt(name).is_some() {
                bail!("--{name} is not supported yet");
            }
        }
        if flags.get("etcd-prefix") != "/registry" {
            bail!("--etcd-prefix: only /registry is supported yet");
        }
        let bind_address: IpAddr = flags.get("bind-address").parse().context("--bind-address")?;
        let path = |name: &str| flags.opt(name).map(PathBuf::from);
        let serving = match (path("tls-cert-file"), path("tls-private-key-file")) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => bail!("--tls-cert-file and --tls-private-key-file go together"),
        };
        let secure_port = u16::try_from(flags.int("secure-port")).context("--secure-port must be a port")?;
        let advertise_address = match flags.opt("advertise-address") {
            Some(text) => text.parse().context("--advertise-address")?,
            None => advertised(bind_address)?,
        };
        Ok(Config {
            bind_address,
            secure_port,
            advertise_address,
            cert_dir: PathBuf::from(flags.get("cert-dir")),
            serving,
            client_ca: path("client-ca-file"),
            backend: backend(flags),
            encoded_cache: count(flags, "encoded-cache-mib")?.saturating_mul(1 << 20),
            audit: audit(flags)?,
            encryption: encryption(flags)?,
            request_timeout: flags.duration("request-timeout"),
            services_by_endpoints: flags.bool("enable-aggregator-routing"),
            proxy_client: match (path("proxy-client-cert-file"), path("proxy-client-key-file")) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                _ => bail!("--proxy-client-cert-file and --proxy-client-key-file go together"),
            },
            rejects_redirects: flags.bool("aggregator-reject-forwarding-redirect"),
            fairness: flags.bool("enable-priority-and-fairness"),
            max_reading: count(flags, "max-requests-inflight")?,
            max_mutating: count(flags, "max-mutating-requests-inflight")?,
            cors: patterns(&flags.list("cors-allowed-origins"))?,
            event_ttl: flags.duration("event-ttl"),
            service_ips: service_ips(flags.get("service-cluster-ip-range"))?,
            node_ports: node_ports(flags.get("service-node-port-range"))?,
            shutdown_delay: flags.duration("shutdown-delay-duration"),
            enable_plugins: flags.list("enable-admission-plugins"),
            disable_plugins: flags.list("disable-admission-plugins"),
            admission: match path("admission-control-config-file") {
                Some(file) => Configurations::read(&file).context("--admission-control-config-file")?,
                None => Configurations::default(),
            },
            gates: FeatureGates::parse(&flags.map("feature-gates")).context("--feature-gates")?,
            not_ready_seconds: flags.int("default-not-ready-toleration-seconds"),
            unreachable_seconds: flags.int("default-unreachable-toleration-seconds"),
            auth: AuthConfig::from_flags(flags)?,
            apis: RuntimeConfig::parse(&flags.map("runtime-config"))?,
            kubelet: KubeletOptions {
                ca: path("kubelet-certificate-authority"),
                identity: path("kubelet-client-certificate").zip(path("kubelet-client-key")),
                address_types: flags.list("kubelet-preferred-address-types"),
                timeout: flags.duration("kubelet-timeout"),
            },
        })
    }

    /// `host:port` that clients are told.
    pub fn advertised(&self) -> String {
        std::net::SocketAddr::new(self.advertise_address, self.secure_port).to_string()
    }
}

fn backend(flags: &Flags) -> Backend {
    let servers = flags.list("etcd-servers");
    let path = |name: &str| flags.opt(name).map(PathBuf::from);
    if servers.is_empty() {
        return Backend::Embedded(PathBuf::from(flags.get("data-dir")));
    }
    Backend::Etcd {
        servers,
        ca: path("etcd-cafile"),
        certificate: path("etcd-certfile"),
        key: path("etcd-keyfile"),
        compaction: flags.duration("etcd-compaction-interval"),
    }
}

/// Without a policy nothing is told, and without a path nobody is.
fn audit(flags: &Flags) -> Result<Option<(Policy, log::Options)>> {
    let (policy, path) = (flags.opt("audit-policy-file"), flags.opt("audit-log-path"));
    let policy = policy.map(|file| {
        let text = std::fs::read_to_string(file).with_context(|| format!("--audit-policy-file: reading {file}"))?;
        Policy::parse(&text).map_err(|why| anyhow!("--audit-policy-file: {file}: {why}"))
    });
    let policy = policy.transpose()?;
    if flags.get("audit-log-format") != "json" {
        bail!("--audit-log-format: only json is supported");
    }
    if flags.get("audit-log-version") != "audit.k8s.io/v1" {
        bail!("--audit-log-version: only audit.k8s.io/v1 is supported");
    }
    let mode = match flags.get("audit-log-mode") {
        "blocking" => log::Mode::Blocking,
        "blocking-strict" => log::Mode::BlockingStrict,
        "batch" => log::Mode::Batch(count(flags, "audit-log-batch-buffer-size")?),
        other => bail!("invalid audit log mode {other}, allowed modes are \"batch,blocking,blocking-strict\""),
    };
    let options = log::Options {
        path: PathBuf::from(path.unwrap_or_default()),
        mode,
        max_size: count(flags, "audit-log-maxsize")? as u64,
        max_backups: count(flags, "audit-log-maxbackup")?,
        max_age: u32::try_from(flags.int("audit-log-maxage")).context("--audit-log-maxage must not be negative")?,
        compress: flags.bool("audit-log-compress"),
    };
    Ok(policy.zip(path).map(|(policy, _)| (policy, options)))
}

fn encryption(flags: &Flags) -> Result<Option<EncryptionOptions>> {
    let reload = flags.bool("encryption-provider-config-automatic-reload");
    let Some(file) = flags.opt("encryption-provider-config").map(PathBuf::from) else {
        if reload {
            bail!("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config");
        }
        return Ok(None);
    };
    let options = EncryptionOptions { file, reload };
    options.check()?;
    Ok(Some(options))
}

fn count(flags: &Flags, name: &str) -> Result<usize> {
    usize::try_from(flags.int(name)).with_context(|| format!("--{name} must not be negative"))
}

fn patterns(texts: &[String]) -> Result<Vec<regex::Regex>> {
    texts.iter().map(|t| regex::Regex::new(t).with_context(|| format!("--cors-allowed-origins: {t}"))).collect()
}

fn service_ips(text: &str) -> Result<Vec<IpRange>> {
    let text = if text.is_empty() { "10.0.0.0/24" } else { text };
    let ranges: Vec<IpRange> = text
        .split(',')
        .map(|r| IpRange::parse(r).with_context(|| format!("--service-cluster-ip-range: {r:?} is no CIDR")))
        .collect::<Result<_>>()?;
    if ranges.len() > 2 {
        bail!("--service-cluster-ip-range must not contain more than two entries");
    }
    Ok(ranges)
}

fn node_ports(text: &str) -> Result<(u16, u16)> {
    let parsed = match text.split_once('-') {
        Some((low, high)) => low.parse().ok().zip(high.parse().ok()),
        None => text.split_once('+').and_then(|(low, more)| {
            let (low, more): (u16, u16) = (low.parse().ok()?, more.parse().ok()?);
            Some((low, low.checked_add(more)?))
        }),
    };
    match parsed {
        Some((low, high)) if 0 < low && low <= high => Ok((low, high)),
        _ => bail!("--service-node-port-range: {text:?} is no range of ports"),
    }
}

/// The address that the default route leaves from, when the server listens on all of them (or only on the loopback).
fn advertised(bind: IpAddr) -> Result<IpAddr> {
    if !bind.is_unspecified() && !bind.is_loopback() {
        return Ok(bind);
    }
    let socket =
        std::net::UdpSocket::bind("0.0.0.0:0").context("--advertise-address is not given and can't be found")?;
    // Connecting a datagram socket sends nothing; it only picks the source address.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => Ok(address.ip()),
        Err(_) => Ok(IpAddr::from([127, 0, 0, 1])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_port_ranges() {
        assert_eq!(node_ports("30000-32767").ok(), Some((30000, 32767)));
        assert_eq!(node_ports("30000+10").ok(), Some((30000, 30010)));
        assert!(node_ports("5-1").is_err() && node_ports("x").is_err() && node_ports("0-5").is_err());
    }

    #[test]
    fn flags_make_a_configuration() {
        let flags = Flags::parse(
            "kube-apiserver",
            crate::options::FLAGS,
            ["--secure-port=21200", "--service-cluster-ip-range=10.96.0.0/16"],
        );
        let config = Config::from_flags(&flags.expect("flags parse")).expect("flags are valid");
        assert_eq!((config.secure_port, config.max_reading), (21200, 400));
        assert!(matches!(config.backend, Backend::Embedded(_)));
        let flags = Flags::parse("kube-apiserver", crate::options::FLAGS, ["--egress-selector-config-file=x"]);
        let refused = Config::from_flags(&flags.expect("flags parse")).expect_err("not there yet");
        assert_eq!(refused.to_string(), "--egress-selector-config-file is not supported yet");
    }
}
