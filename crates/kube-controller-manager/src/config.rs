//! The validated configuration.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use component_base::serving::SecurePort;

use crate::controllers::Controller;

/// What the controller manager runs with.
pub struct Config {
    /// Kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// API server address that overrides the kubeconfig's; may be empty.
    pub master: String,
    /// Whether each controller uses its own service account.
    pub use_service_account_credentials: bool,
    /// The controllers to run, in the table's order.
    pub controllers: Vec<&'static Controller>,
    /// The secure port; none when switched off.
    pub secure_port: Option<SecurePort>,
    /// Leader election; none when switched off.
    pub leader_election: Option<LeaderElection>,
    /// Number of workers by controller name; others have one.
    pub workers: BTreeMap<&'static str, usize>,
    /// Whether nodes get pod CIDRs from here.
    pub allocate_node_cidrs: bool,
    /// The pod network, at most one CIDR per family.
    pub cluster_cidrs: Vec<String>,
    /// The service network, which pod CIDRs must not overlap; may be empty.
    pub service_cluster_ip_range: String,
    /// Mask size of IPv4 pod CIDRs.
    pub node_cidr_mask_ipv4: u8,
    /// Mask size of IPv6 pod CIDRs.
    pub node_cidr_mask_ipv6: u8,
    /// Whether a cloud-controller-manager runs.
    pub external_cloud: bool,
    /// PEM of the root CA that pods trust.
    pub root_ca: Option<String>,
    /// PEM of the key that signs legacy service account tokens.
    pub service_account_key: Option<String>,
    /// The signers' CAs.
    pub signing: Signing,
    /// Node monitoring.
    pub node_lifecycle: NodeLifecycle,
    /// Horizontal autoscaling of pods.
    pub autoscaling: Autoscaling,
    /// Whether the garbage collector runs.
    pub garbage_collector: bool,
    /// Number of terminated pods that are kept; 0 = all.
    pub terminated_pod_threshold: usize,
    /// Endpoints per EndpointSlice.
    pub max_endpoints_per_slice: usize,
    /// Full recalculation of quotas.
    pub resource_quota_sync_period: Duration,
}

/// Leader election.
pub struct LeaderElection {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// See [`controller_runtime::LeaderConfig`].
    pub lease_duration: Duration,
    /// See [`controller_runtime::LeaderConfig`].
    pub renew_deadline: Duration,
    /// See [`controller_runtime::LeaderConfig`].
    pub retry_period: Duration,
}

/// Certificate and key file of the CA behind a signer.
pub type SigningPair = Option<(PathBuf, PathBuf)>;

/// The signers' CAs; a signer without one does not sign.
#[derive(Clone, Default)]
pub struct Signing {
    /// `kubernetes.io/kubelet-serving`.
    pub kubelet_serving: SigningPair,
    /// `kubernetes.io/kube-apiserver-client-kubelet`.
    pub kubelet_client: SigningPair,
    /// `kubernetes.io/kube-apiserver-client`.
    pub apiserver_client: SigningPair,
    /// `kubernetes.io/legacy-unknown`.
    pub legacy_unknown: SigningPair,
    /// Longest life of a certificate.
    pub duration: Duration,
}

/// Node monitoring.
#[derive(Clone)]
pub struct NodeLifecycle {
    /// How often nodes are looked at.
    pub monitor_period: Duration,
    /// How long a node may be silent.
    pub monitor_grace_period: Duration,
    /// How long a new node may be silent.
    pub startup_grace_period: Duration,
    /// Nodes per second whose pods are evicted in a healthy zone.
    pub eviction_rate: f64,
    /// The same in an unhealthy zone of a large cluster.
    pub secondary_eviction_rate: f64,
    /// Part of nodes not ready that makes a zone unhealthy.
    pub unhealthy_zone_threshold: f64,
    /// Nodes from which on a cluster is large.
    pub large_cluster_size: usize,
}

/// Horizontal autoscaling of pods.
#[derive(Clone)]
pub struct Autoscaling {
    /// How often each autoscaler is looked at.
    pub sync_period: Duration,
    /// For how long the highest recommendation counts, where no behavior says otherwise.
    pub downscale_stabilization: Duration,
    /// How far usage may be from the target, as a part of it.
    pub tolerance: f64,
    /// For how long after its start a pod's CPU is judged with care.
    pub cpu_initialization_period: Duration,
    /// A pod that turned unready within this time after its start has never been ready.
    pub initial_readiness_delay: Duration,
}
