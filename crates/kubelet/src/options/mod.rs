//! From flags and the KubeletConfiguration file to a checked [`Config`]. Pure, apart from reading the file.
//!
//! A flag that names a field of the file is written over it before the file is decoded, so that there is one place where a
//! setting is checked, and `/configz` shows what is in effect.

mod file;
mod overrides;

use crate::config::{CgroupConfig, Config, NodeConfig, Paths, ServerConfig, Taint, UpkeepConfig, default_pressure};
use anyhow::{Context, bail};
use api_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use component_base::duration::parse_duration;
use component_base::flags::Flags;
use component_helpers::quantity::value;
use file::File;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Upstream's flags.
pub const TABLE: &str = include_str!("../flags.txt");

/// What `main` needs beside the configuration.
#[derive(Debug, Clone)]
pub struct Startup {
    /// How to reach the API server; none for standalone mode.
    pub kubeconfig: Option<PathBuf>,
    /// How to ask for a first certificate.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// CRI socket.
    pub runtime_endpoint: String,
    /// CRI socket of the image service.
    pub image_endpoint: String,
    /// Limit of a call to the runtime.
    pub runtime_timeout: Duration,
    /// Whether to renew the client certificate.
    pub rotate_certificates: bool,
}

/// Reads flags and file.
pub fn load(flags: &Flags) -> anyhow::Result<(Config, Startup)> {
    let (mut document, base) = match flags.opt("config") {
        Some(path) => (read_file(Path::new(path))?, Path::new(path).parent().map(Path::to_path_buf)),
        None => (serde_json::json!({}), None),
    };
    if flags.is_set("config-dir") {
        bail!("--config-dir is not supported by this kubelet");
    }
    overrides::apply(flags, &mut document)?;
    let file = File::decode(&document).context("KubeletConfiguration")?;
    if let Some(why) = file.refused() {
        bail!("{why}");
    }
    let config = build(flags, &file, document, base.as_deref())?;
    let runtime_endpoint = or(&file.container_runtime_endpoint, "unix:///run/containerd/containerd.sock");
    let startup = Startup {
        kubeconfig: flags.opt("kubeconfig").map(PathBuf::from),
        bootstrap_kubeconfig: flags.opt("bootstrap-kubeconfig").map(PathBuf::from),
        image_endpoint: or(&file.image_service_endpoint, &runtime_endpoint),
        runtime_endpoint,
        runtime_timeout: duration("runtimeRequestTimeout", &file.runtime_request_timeout, 120)?,
        rotate_certificates: file.rotate_certificates,
    };
    Ok((config, startup))
}

fn read_file(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let document: Value = serde_yaml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    if document["kind"] != "KubeletConfiguration" || document["apiVersion"] != "kubelet.config.k8s.io/v1beta1" {
        bail!("{}: not a kubelet.config.k8s.io/v1beta1 KubeletConfiguration", path.display());
    }
    Ok(document)
}

fn or(text: &str, fallback: &str) -> String {
    if text.is_empty() { fallback.to_owned() } else { text.to_owned() }
}

fn duration(field: &str, text: &str, default: u64) -> anyhow::Result<Duration> {
    match text {
        "" | "0" | "0s" => Ok(Duration::from_secs(default)),
        text => parse_duration(text).with_context(|| format!("{field}: invalid duration {text:?}")),
    }
}

fn address(field: &str, text: &str, default: &str) -> anyhow::Result<IpAddr> {
    let text = or(text, default);
    text.parse().with_context(|| format!("{field}: invalid address {text:?}"))
}

fn build(flags: &Flags, file: &File, document: Value, base: Option<&Path>) -> anyhow::Result<Config> {
    let node = node(flags, file)?;
    Ok(Config {
        paths: paths(flags, file, base),
        cgroups: CgroupConfig {
            per_qos: file.cgroups_per_qos.unwrap_or(true),
            root: or(&file.cgroup_root, "/"),
            cpu_cfs_quota: file.cpu_cfs_quota.unwrap_or(true),
            cpu_cfs_period: duration("cpuCFSQuotaPeriod", &file.cpu_cfs_quota_period, 0)
                .map(|period| if period.is_zero() { Duration::from_millis(100) } else { period })?,
            pod_pids_limit: file.pod_pids_limit.unwrap_or(-1),
            enforce_pods: file
                .enforce_node_allocatable
                .as_ref()
                .is_none_or(|list| list.iter().any(|what| what == "pods")),
        },
        upkeep: upkeep(file)?,
        server: server(flags, file, base)?,
        cluster_dns: file.cluster_dns.clone(),
        cluster_domain: file.cluster_domain.clone(),
        sync_frequency: duration("syncFrequency", &file.sync_frequency, 60)?,
        file_check: duration("fileCheckFrequency", &file.file_check_frequency, 20)?,
        crash_backoff_max: duration("crashLoopBackOff.maxContainerRestartPeriod", &file.max_restart_period(), 300)?,
        allowed_unsafe_sysctls: file.allowed_unsafe_sysctls.clone(),
        seccomp_default: file.seccomp_default,
        event_qps: u32::try_from(file.event_record_qps.unwrap_or(50)).unwrap_or(50),
        node,
        document,
    })
}

/// A path of the file, relative to the file.
fn resolve(base: Option<&Path>, path: &str) -> PathBuf {
    base.map_or_else(|| PathBuf::from(path), |base| base.join(path))
}

fn paths(flags: &Flags, file: &File, base: Option<&Path>) -> Paths {
    let default = Paths::default();
    let own_logs = !file.pod_logs_dir.is_empty() && Path::new(&file.pod_logs_dir) != default.pod_logs;
    Paths {
        root: PathBuf::from(flags.get("root-dir")),
        certs: PathBuf::from(flags.get("cert-dir")),
        pod_logs: if own_logs { resolve(base, &file.pod_logs_dir) } else { default.pod_logs },
        container_links: if own_logs { None } else { default.container_links },
        static_pods: Some(&file.static_pod_path).filter(|path| !path.is_empty()).map(|path| resolve(base, path)),
        resolv_conf: match file.resolv_conf.as_deref() {
            Some("") => None,
            Some(path) => Some(resolve(base, path)),
            None => default.resolv_conf,
        },
        logs: default.logs,
    }
}

fn node(flags: &Flags, file: &File) -> anyhow::Result<NodeConfig> {
    let hostname = match flags.opt("hostname-override") {
        Some(name) => name.trim().to_lowercase(),
        None => nix::unistd::gethostname().context("host name")?.to_string_lossy().trim().to_lowercase(),
    };
    let ips = flags
        .opt("node-ip")
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(|ip| ip.trim().parse().with_context(|| format!("--node-ip: invalid address {ip:?}")));
    let provider = flags.opt("cloud-provider").unwrap_or_default();
    if !matches!(provider, "" | "external") {
        bail!("unknown cloud provider {provider:?}: only \"external\" is supported");
    }
    let default = NodeConfig::new(&hostname);
    Ok(NodeConfig {
        ips: ips.collect::<anyhow::Result<Vec<IpAddr>>>()?.into_iter().filter(|ip| !ip.is_unspecified()).collect(),
        register: file.register_node.unwrap_or(true),
        labels: flags.map("node-labels"),
        taints: file.taints()?,
        provider_id: file.provider_id.clone(),
        external_cloud: provider == "external",
        status_update: duration("nodeStatusUpdateFrequency", &file.node_status_update_frequency, 10)?,
        // Without a setting of its own an explicit update frequency is the report frequency, as upstream.
        status_report: match (&*file.node_status_report_frequency, &*file.node_status_update_frequency) {
            ("", "") => default.status_report,
            ("", update) => duration("nodeStatusUpdateFrequency", update, 10)?,
            (report, _) => duration("nodeStatusReportFrequency", report, 300)?,
        },
        lease: Duration::from_secs(u64::try_from(file.node_lease_duration_seconds.unwrap_or(40)).unwrap_or(40)),
        max_pods: u32::try_from(file.max_pods.unwrap_or(110)).context("maxPods")?,
        max_images: file.node_status_max_images.unwrap_or(50),
        pressure: file.eviction_hard.clone().unwrap_or_else(default_pressure),
        reserved: reserved(file)?,
        pod_cidr: file.pod_cidr.clone(),
        ..default
    })
}

/// kubeReserved and systemReserved together.
fn reserved(file: &File) -> anyhow::Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for (field, list) in [("kubeReserved", &file.kube_reserved), ("systemReserved", &file.system_reserved)] {
        for (name, text) in list {
            let amount = component_helpers::resources::amount(name, &Quantity(text.clone()));
            if amount < 0 || (amount == 0 && !text.trim_start_matches('0').is_empty()) {
                bail!("{field}: invalid quantity {text:?} for {name}");
            }
            *out.entry(name.clone()).or_insert(0_i64) += amount;
        }
    }
    Ok(out
        .into_iter()
        .map(|(name, amount)| {
            let text = if name == "cpu" { format!("{amount}m") } else { amount.to_string() };
            (name, text)
        })
        .collect())
}

fn upkeep(file: &File) -> anyhow::Result<UpkeepConfig> {
    let default = UpkeepConfig::default();
    let percent =
        |value: Option<i32>, default: u32| value.map_or(default, |value| u32::try_from(value).unwrap_or(default));
    let max_size = match file.container_log_max_size.as_str() {
        "" => default.log_max_size,
        text => u64::try_from(value(&Quantity(text.to_owned()))).context("containerLogMaxSize")?,
    };
    let max_files = file.container_log_max_files.unwrap_or(5);
    if max_files <= 1 {
        bail!("containerLogMaxFiles must be greater than 1, got {max_files}");
    }
    Ok(UpkeepConfig {
        image_gc_high: percent(file.image_gc_high_threshold_percent, default.image_gc_high),
        image_gc_low: percent(file.image_gc_low_threshold_percent, default.image_gc_low),
        image_min_age: duration("imageMinimumGCAge", &file.image_minimum_gc_age, 120)?,
        image_max_age: duration("imageMaximumGCAge", &file.image_maximum_gc_age, 0)?,
        log_max_size: max_size,
        log_max_files: max_files as u32,
        log_monitor: duration("containerLogMonitorInterval", &file.container_log_monitor_interval, 10)?,
        serialize_pulls: file.serialize_image_pulls.unwrap_or(true),
        parallel_pulls: file.max_parallel_image_pulls,
        ..default
    })
}

fn port(field: &str, value: Option<i32>, default: u16) -> anyhow::Result<u16> {
    value.map_or(Ok(default), |value| u16::try_from(value).with_context(|| format!("{field}: invalid port {value}")))
}

fn server(_flags: &Flags, file: &File, base: Option<&Path>) -> anyhow::Result<ServerConfig> {
    let tls = match (file.tls_cert_file.as_str(), file.tls_private_key_file.as_str()) {
        ("", "") => None,
        (cert, key) if !cert.is_empty() && !key.is_empty() => Some((resolve(base, cert), resolve(base, key))),
        _ => bail!("tlsCertFile and tlsPrivateKeyFile must be given together"),
    };
    let client_ca = &file.authentication.x509.client_ca_file;
    Ok(ServerConfig {
        enabled: file.enable_server.unwrap_or(true),
        address: address("address", &file.address, "0.0.0.0")?,
        port: port("port", file.port, 10250)?,
        healthz_port: port("healthzPort", file.healthz_port, 10248)?,
        healthz_address: address("healthzBindAddress", &file.healthz_bind_address, "127.0.0.1")?,
        tls,
        tls_bootstrap: file.server_tls_bootstrap,
        client_ca: Some(client_ca).filter(|path| !path.is_empty()).map(|path| resolve(base, path)),
        anonymous: file.authentication.anonymous.enabled.unwrap_or(false),
        webhook_authn: file.authentication.webhook.enabled.unwrap_or(true),
        webhook_authz: match file.authorization.mode.as_str() {
            "" | "Webhook" => true,
            "AlwaysAllow" => false,
            other => bail!("authorization.mode: unknown mode {other:?}"),
        },
        tls_min_version: file.tls_min_version.clone(),
        debugging_handlers: file.enable_debugging_handlers.unwrap_or(true),
    })
}

/// A taint as flags write it: `key=value:Effect` or `key:Effect`.
pub(crate) fn parse_taint(text: &str) -> anyhow::Result<Taint> {
    let (key_value, effect) = text.rsplit_once(':').with_context(|| format!("invalid taint {text:?}: no effect"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        bail!("invalid taint effect: {effect}, unsupported taint effect");
    }
    let (key, value) = key_value.split_once('=').unwrap_or((key_value, ""));
    if key.is_empty() {
        bail!("invalid taint {text:?}: no key");
    }
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into() })
}

#[cfg(test)]
mod tests;
