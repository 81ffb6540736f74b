//! Flags to [`Config`]. Pure but for the files that flags name, which are read when they are used.

use std::path::PathBuf;

use anyhow::{Context, bail};
use component_base::{flags::Flags, serving::SecurePort};

use crate::{
    config::{Autoscaling, Config, LeaderElection, NodeLifecycle, Signing},
    controllers,
};

/// Upstream's flags.
pub const TABLE: &str = include_str!("flags.txt");

/// Parses the command line; prints and exits where there is nothing to run.
pub fn parse() -> Flags {
    Flags::parse_or_exit("kube-controller-manager", TABLE)
}

/// The validated configuration.
pub fn config(flags: &Flags) -> anyhow::Result<Config> {
    let selected = controllers::select(&flags.list("controllers"))?;
    controllers::check_gates(&flags.map("feature-gates"))?;
    let cluster_cidrs = flags.list("cluster-cidr");
    if flags.bool("allocate-node-cidrs") && cluster_cidrs.is_empty() {
        bail!("--cluster-cidr must be set when --allocate-node-cidrs is");
    }
    Ok(Config {
        kubeconfig: path(flags, "kubeconfig"),
        master: flags.get("master").to_owned(),
        use_service_account_credentials: flags.bool("use-service-account-credentials"),
        controllers: selected,
        secure_port: SecurePort::from_flags(flags, "kube-controller-manager")?,
        leader_election: leader_election(flags),
        workers: workers(flags),
        allocate_node_cidrs: flags.bool("allocate-node-cidrs"),
        cluster_cidrs,
        service_cluster_ip_range: flags.get("service-cluster-ip-range").to_owned(),
        node_cidr_mask_ipv4: mask(flags, &["node-cidr-mask-size-ipv4", "node-cidr-mask-size"], 24)?,
        node_cidr_mask_ipv6: mask(flags, &["node-cidr-mask-size-ipv6", "node-cidr-mask-size"], 64)?,
        external_cloud: flags.get("cloud-provider") == "external",
        root_ca: read_optional(flags, "root-ca-file")?,
        service_account_key: read_optional(flags, "service-account-private-key-file")?,
        signing: signing(flags),
        node_lifecycle: NodeLifecycle {
            monitor_period: flags.duration("node-monitor-period"),
            monitor_grace_period: flags.duration("node-monitor-grace-period"),
            startup_grace_period: flags.duration("node-startup-grace-period"),
            eviction_rate: flags.float("node-eviction-rate"),
            secondary_eviction_rate: flags.float("secondary-node-eviction-rate"),
            unhealthy_zone_threshold: flags.float("unhealthy-zone-threshold"),
            large_cluster_size: usize::try_from(flags.int("large-cluster-size-threshold")).unwrap_or_default(),
        },
        autoscaling: Autoscaling {
            sync_period: flags.duration("horizontal-pod-autoscaler-sync-period"),
            downscale_stabilization: flags.duration("horizontal-pod-autoscaler-downscale-stabilization"),
            tolerance: flags.float("horizontal-pod-autoscaler-tolerance"),
            cpu_initialization_period: flags.duration("horizontal-pod-autoscaler-cpu-initialization-period"),
            initial_readiness_delay: flags.duration("horizontal-pod-autoscaler-initial-readiness-delay"),
        },
        garbage_collector: flags.bool("enable-garbage-collector"),
        terminated_pod_threshold: usize::try_from(flags.int("terminated-pod-gc-threshold")).unwrap_or_default(),
        max_endpoints_per_slice: usize::try_from(flags.int("max-endpoints-per-slice")).unwrap_or(100).clamp(1, 1000),
        resource_quota_sync_period: flags.duration("resource-quota-sync-period"),
    })
}

fn path(flags: &Flags, name: &str) -> Option<PathBuf> {
    flags.opt(name).map(PathBuf::from)
}

fn read_optional(flags: &Flags, name: &'static str) -> anyhow::Result<Option<String>> {
    let Some(path) = flags.opt(name) else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("--{name}: cannot read {path}"))?;
    Ok(Some(text))
}

fn mask(flags: &Flags, names: &[&str], default: u8) -> anyhow::Result<u8> {
    let value = names.iter().map(|name| flags.int(name)).find(|value| *value != 0);
    let Some(value) = value else { return Ok(default) };
    u8::try_from(value)
        .ok()
        .filter(|bits| *bits <= 128)
        .with_context(|| format!("--{}: {value} is no mask size", names[0]))
}

fn leader_election(flags: &Flags) -> Option<LeaderElection> {
    flags.bool("leader-elect").then(|| LeaderElection {
        namespace: flags.get("leader-elect-resource-namespace").to_owned(),
        name: flags.get("leader-elect-resource-name").to_owned(),
        lease_duration: flags.duration("leader-elect-lease-duration"),
        renew_deadline: flags.duration("leader-elect-renew-deadline"),
        retry_period: flags.duration("leader-elect-retry-period"),
    })
}

/// Upstream's names of the `--concurrent-*-syncs` flags, by controller.
const WORKERS: &[(&str, &str)] = &[
    ("cronjob-controller", "concurrent-cron-job-syncs"),
    ("daemonset-controller", "concurrent-daemonset-syncs"),
    ("deployment-controller", "concurrent-deployment-syncs"),
    ("endpoints-controller", "concurrent-endpoint-syncs"),
    ("ephemeral-volume-controller", "concurrent-ephemeralvolume-syncs"),
    ("horizontal-pod-autoscaler-controller", "concurrent-horizontal-pod-autoscaler-syncs"),
    ("garbage-collector-controller", "concurrent-gc-syncs"),
    ("job-controller", "concurrent-job-syncs"),
    ("namespace-controller", "concurrent-namespace-syncs"),
    ("replicationcontroller-controller", "concurrent-rc-syncs"),
    ("replicaset-controller", "concurrent-replicaset-syncs"),
    ("resourcequota-controller", "concurrent-resource-quota-syncs"),
    ("endpointslice-controller", "concurrent-service-endpoint-syncs"),
    ("serviceaccount-token-controller", "concurrent-serviceaccount-token-syncs"),
    ("statefulset-controller", "concurrent-statefulset-syncs"),
    ("ttl-after-finished-controller", "concurrent-ttl-after-finished-syncs"),
];

fn workers(flags: &Flags) -> std::collections::BTreeMap<&'static str, usize> {
    let count = |flag| usize::try_from(flags.int(flag)).unwrap_or(1).max(1);
    WORKERS.iter().map(|(controller, flag)| (*controller, count(flag))).collect()
}

fn signing(flags: &Flags) -> Signing {
    let pair = |signer: &str| {
        let flag = |kind: &str| format!("cluster-signing-{signer}{kind}-file");
        Option::zip(path(flags, &flag("cert")), path(flags, &flag("key")))
    };
    let common = pair("");
    let or_common = |signer: &str| pair(signer).or_else(|| common.clone());
    Signing {
        kubelet_serving: or_common("kubelet-serving-"),
        kubelet_client: or_common("kubelet-client-"),
        apiserver_client: or_common("kube-apiserver-client-"),
        legacy_unknown: or_common("legacy-unknown-"),
        duration: flags.duration("cluster-signing-duration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(args: &[&str]) -> anyhow::Result<Config> {
        config(&Flags::parse("kube-controller-manager", TABLE, args)?)
    }

    #[test]
    fn defaults_are_upstreams() {
        let config = config_of(&[]).unwrap();
        assert!(config.secure_port.is_some());
        assert_eq!(config.workers["garbage-collector-controller"], 20);
        assert_eq!(config.node_cidr_mask_ipv4, 24);
        assert!(config.leader_election.is_some() && !config.use_service_account_credentials);
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (args, part) in [
            (&["--allocate-node-cidrs"][..], "--cluster-cidr"),
            (&["--controllers=nonsense"], "nonsense"),
            (&["--root-ca-file=/does/not/exist"], "--root-ca-file"),
            (&["--secure-port=99999"], "--secure-port"),
        ] {
            let error = format!("{:#}", config_of(args).err().unwrap());
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
