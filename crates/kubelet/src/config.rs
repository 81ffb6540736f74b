//! What a kubelet was told to do, checked: the result of flags, KubeletConfiguration file and defaults.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the node's files are.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Pods' directories and the kubelet's own files (/var/lib/kubelet).
    pub root: PathBuf,
    /// Certificates (/var/lib/kubelet/pki).
    pub certs: PathBuf,
    /// Container logs (/var/log/pods).
    pub pod_logs: PathBuf,
    /// Links to container logs by pod name (/var/log/containers); none with a pod log directory other than the default.
    pub container_links: Option<PathBuf>,
    /// Manifests of static pods; a directory or one file.
    pub static_pods: Option<PathBuf>,
    /// The host's resolv.conf.
    pub resolv_conf: Option<PathBuf>,
    /// The file or directory served below /logs.
    pub logs: PathBuf,
}

/// A taint that the node registers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// NoSchedule, PreferNoSchedule or NoExecute.
    pub effect: String,
}

/// How the node presents itself.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node object's name.
    pub name: String,
    /// The host name that is reported and given to host-network pods.
    pub hostname: String,
    /// Addresses to report, of at most two families.
    pub ips: Vec<IpAddr>,
    /// Whether to create the node object.
    pub register: bool,
    /// Whether to register as unschedulable.
    pub unschedulable: bool,
    /// Labels beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    /// Taints to register with.
    pub taints: Vec<Taint>,
    /// `spec.providerID`.
    pub provider_id: String,
    /// Whether an external cloud provider initialises the node.
    pub external_cloud: bool,
    /// How often the status is computed.
    pub status_update: Duration,
    /// How often an unchanged status is sent.
    pub status_report: Duration,
    /// The Lease's duration; it is renewed four times as often.
    pub lease: Duration,
    /// Pods at most.
    pub max_pods: u32,
    /// Images listed in the status at most; all when negative.
    pub max_images: i32,
    /// Below these the node is under pressure: signal ("memory.available") to quantity or percentage.
    pub pressure: BTreeMap<String, String>,
    /// Resources kept for the system and the kubelet: name to quantity.
    pub reserved: BTreeMap<String, String>,
    /// Pod CIDR in standalone mode.
    pub pod_cidr: String,
}

/// Control groups.
#[derive(Debug, Clone)]
pub struct CgroupConfig {
    /// Whether pods get their own cgroups.
    pub per_qos: bool,
    /// The parent of `kubepods`.
    pub root: String,
    /// Whether CPU limits become quotas.
    pub cpu_cfs_quota: bool,
    /// The quota's period.
    pub cpu_cfs_period: Duration,
    /// Processes per pod at most; none when not positive.
    pub pod_pids_limit: i64,
    /// Whether `kubepods` is limited to the node's allocatable.
    pub enforce_pods: bool,
}

/// Image and log keeping.
#[derive(Debug, Clone)]
pub struct UpkeepConfig {
    /// Start of image removal, in percent of the image file system.
    pub image_gc_high: u32,
    /// Aim of image removal.
    pub image_gc_low: u32,
    /// Unused images younger than this stay.
    pub image_min_age: Duration,
    /// Unused images older than this go; zero keeps them.
    pub image_max_age: Duration,
    /// A log is rotated at this size.
    pub log_max_size: u64,
    /// Log files kept per container.
    pub log_max_files: u32,
    /// How often logs are looked at.
    pub log_monitor: Duration,
    /// Dead containers kept per container of a pod.
    pub dead_containers: u32,
    /// Pulls one after the other.
    pub serialize_pulls: bool,
    /// Pulls at a time; none without limit.
    pub parallel_pulls: Option<u32>,
}

/// The kubelet's own servers.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Whether to serve at all.
    pub enabled: bool,
    /// Address of the API.
    pub address: IpAddr,
    /// Port of the API (10250).
    pub port: u16,
    /// Port of /healthz; none when zero.
    pub healthz_port: u16,
    /// Address of /healthz.
    pub healthz_address: IpAddr,
    /// Certificate and key; self-signed into the certificate directory when absent.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Get the serving certificate by CSR.
    pub tls_bootstrap: bool,
    /// CA bundle for client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether requests without credentials become system:anonymous.
    pub anonymous: bool,
    /// Whether bearer tokens are checked by TokenReview.
    pub webhook_authn: bool,
    /// Whether authorization asks SubjectAccessReview (else: AlwaysAllow).
    pub webhook_authz: bool,
    /// Lowest TLS version ("VersionTLS12"), empty for the default.
    pub tls_min_version: String,
    /// exec, attach, port-forward and logs.
    pub debugging_handlers: bool,
}

/// Everything the kubelet was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Files.
    pub paths: Paths,
    /// Node object.
    pub node: NodeConfig,
    /// Control groups.
    pub cgroups: CgroupConfig,
    /// Images, logs, dead containers.
    pub upkeep: UpkeepConfig,
    /// Servers.
    pub server: ServerConfig,
    /// DNS servers for ClusterFirst pods.
    pub cluster_dns: Vec<String>,
    /// Search domain for ClusterFirst pods.
    pub cluster_domain: String,
    /// Each pod is looked at this often though nothing happened.
    pub sync_frequency: Duration,
    /// Manifests are read this often.
    pub file_check: Duration,
    /// Ceiling of the delay between restarts of a crashing container.
    pub crash_backoff_max: Duration,
    /// Sysctls allowed beside the safe ones ("net.core.*").
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Default seccomp profile is RuntimeDefault.
    pub seccomp_default: bool,
    /// Event rate.
    pub event_qps: u32,
    /// The KubeletConfiguration in effect, as /configz shows it.
    pub document: serde_json::Value,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            root: "/var/lib/kubelet".into(),
            certs: "/var/lib/kubelet/pki".into(),
            pod_logs: "/var/log/pods".into(),
            container_links: Some("/var/log/containers".into()),
            static_pods: None,
            resolv_conf: Some("/etc/resolv.conf".into()),
            logs: "/var/log".into(),
        }
    }
}

impl NodeConfig {
    /// Upstream's defaults for a node of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            hostname: name.into(),
            ips: Vec::new(),
            register: true,
            unschedulable: false,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            provider_id: String::new(),
            external_cloud: false,
            status_update: Duration::from_secs(10),
            status_report: Duration::from_secs(300),
            lease: Duration::from_secs(40),
            max_pods: 110,
            max_images: 50,
            pressure: default_pressure(),
            reserved: BTreeMap::new(),
            pod_cidr: String::new(),
        }
    }
}

/// Upstream's `evictionHard`.
pub fn default_pressure() -> BTreeMap<String, String> {
    let thresholds = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    thresholds.map(|(signal, value)| (signal.to_owned(), value.to_owned())).into()
}

impl Default for CgroupConfig {
    fn default() -> Self {
        Self {
            per_qos: true,
            root: "/".into(),
            cpu_cfs_quota: true,
            cpu_cfs_period: Duration::from_millis(100),
            pod_pids_limit: -1,
            enforce_pods: true,
        }
    }
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            image_gc_high: 85,
            image_gc_low: 80,
            image_min_age: Duration::from_secs(120),
            image_max_age: Duration::ZERO,
            log_max_size: 10 << 20,
            log_max_files: 5,
            log_monitor: Duration::from_secs(10),
            dead_containers: 1,
            serialize_pulls: true,
            parallel_pulls: None,
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            address: IpAddr::from([0, 0, 0, 0]),
            port: 10250,
            healthz_port: 10248,
            healthz_address: IpAddr::from([127, 0, 0, 1]),
            tls: None,
            tls_bootstrap: false,
            client_ca: None,
            anonymous: false,
            webhook_authn: true,
            webhook_authz: true,
            tls_min_version: String::new(),
            debugging_handlers: true,
        }
    }
}

impl Config {
    /// Upstream's defaults for a node of this name.
    pub fn new(node: &str) -> Self {
        Self {
            paths: Paths::default(),
            node: NodeConfig::new(node),
            cgroups: CgroupConfig::default(),
            upkeep: UpkeepConfig::default(),
            server: ServerConfig::default(),
            cluster_dns: Vec::new(),
            cluster_domain: String::new(),
            sync_frequency: Duration::from_secs(60),
            file_check: Duration::from_secs(20),
            crash_backoff_max: Duration::from_secs(300),
            allowed_unsafe_sysctls: Vec::new(),
            seccomp_default: false,
            event_qps: 50,
            document: serde_json::Value::Null,
        }
    }

    /// For a hollow node: no servers, no files read from the machine.
    pub fn hollow(node: &str) -> Self {
        let mut config = Self::new(node);
        config.server.enabled = false;
        config.server.healthz_port = 0;
        config.paths.resolv_conf = None;
        config.node.ips = vec![IpAddr::from([127, 0, 0, 1])];
        config
    }
}
