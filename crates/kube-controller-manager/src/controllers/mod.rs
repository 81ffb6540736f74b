//! The table of controllers. Everything about which controllers exist, what they are called and which of them run derives from it.

use std::collections::BTreeMap;

use anyhow::bail;
use controller_runtime::BoxError;

use crate::context::Context;

mod bootstrap;
mod certificates;
mod clusterrole_aggregation;
mod cronjob;
mod daemonset;
mod deployment;
mod devicetainteviction;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod ephemeralvolume;
mod garbagecollector;
mod horizontalpodautoscaler;
mod job;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod nodettl;
mod podgc;
mod policy_status;
mod protection;
mod replicaset;
mod replicationcontroller;
mod resourceclaim;
mod resourcequota;
mod root_ca;
mod serviceaccount;
mod serviceaccount_token;
mod servicecidr;
mod statefulset;
mod tainteviction;
mod ttlafterfinished;
mod volumebinder;

/// A controller.
pub struct Controller {
    /// Upstream's name.
    pub name: &'static str,
    /// The name before upstream's 1.28, still accepted.
    pub alias: &'static str,
    /// The service account in kube-system whose identity it has; empty: the process's own, as upstream's has it.
    pub service_account: &'static str,
    /// Whether `*` includes it.
    pub by_default: bool,
    /// Registers its watches and starts its workers.
    pub start: fn(&Context) -> Result<(), BoxError>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn controller(
    name: &'static str,
    alias: &'static str,
    service_account: &'static str,
    start: fn(&Context) -> Result<(), BoxError>,
) -> Controller {
    Controller { name, alias, service_account, by_default: true, start }
}

/// Every controller that works, in the order in which they start.
pub static ALL: &[Controller] = &[
    controller("serviceaccount-controller", "serviceaccount", "service-account-controller", serviceaccount::start),
    controller(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        "root-ca-cert-publisher",
        root_ca::start,
    ),
    controller("namespace-controller", "namespace", "namespace-controller", namespace::start),
    controller("replicaset-controller", "replicaset", "replicaset-controller", replicaset::start),
    controller("deployment-controller", "deployment", "deployment-controller", deployment::start),
    controller(
        "replicationcontroller-controller",
        "replicationcontroller",
        "replication-controller",
        replicationcontroller::start,
    ),
    controller("endpointslice-controller", "endpointslice", "endpointslice-controller", endpointslice::start),
    controller("endpoints-controller", "endpoint", "endpoint-controller", endpoints::start),
    controller("job-controller", "job", "job-controller", job::start),
    controller(
        "garbage-collector-controller",
        "garbagecollector",
        "generic-garbage-collector",
        garbagecollector::start,
    ),
    controller("daemonset-controller", "daemonset", "daemon-set-controller", daemonset::start),
    controller("statefulset-controller", "statefulset", "statefulset-controller", statefulset::start),
    controller("node-ipam-controller", "nodeipam", "node-controller", nodeipam::start),
    controller("node-lifecycle-controller", "nodelifecycle", "node-controller", nodelifecycle::start),
    controller("taint-eviction-controller", "taint-eviction-controller", "node-controller", tainteviction::start),
    controller("pod-garbage-collector-controller", "podgc", "pod-garbage-collector", podgc::start),
    controller(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        "certificate-controller",
        certificates::start_approving,
    ),
    controller(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        "certificate-controller",
        certificates::start_signing,
    ),
    controller(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        "certificate-controller",
        certificates::start_cleaner,
    ),
    Controller {
        by_default: false,
        ..controller("token-cleaner-controller", "tokencleaner", "token-cleaner", bootstrap::start_cleaner)
    },
    Controller {
        by_default: false,
        ..controller("bootstrap-signer-controller", "bootstrapsigner", "bootstrap-signer", bootstrap::start_signer)
    },
    controller("serviceaccount-token-controller", "serviceaccount-token", "", serviceaccount_token::start),
    controller(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        "ttl-after-finished-controller",
        ttlafterfinished::start,
    ),
    controller(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "clusterrole-aggregation-controller",
        clusterrole_aggregation::start,
    ),
    controller("cronjob-controller", "cronjob", "cronjob-controller", cronjob::start),
    controller(
        "horizontal-pod-autoscaler-controller",
        "horizontalpodautoscaling",
        "horizontal-pod-autoscaler",
        horizontalpodautoscaler::start,
    ),
    controller("disruption-controller", "disruption", "disruption-controller", disruption::start),
    controller("ttl-controller", "ttl", "ttl-controller", nodettl::start),
    controller(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        "pvc-protection-controller",
        protection::start_claims,
    ),
    controller(
        "persistentvolume-protection-controller",
        "pv-protection",
        "pv-protection-controller",
        protection::start_volumes,
    ),
    controller(
        "volumeattributesclass-protection-controller",
        "volumeattributesclass-protection-controller",
        "volumeattributesclass-protection-controller",
        protection::start_classes,
    ),
    controller("resourcequota-controller", "resourcequota", "resourcequota-controller", resourcequota::start),
    controller(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        "endpointslicemirroring-controller",
        endpointslicemirroring::start,
    ),
    controller(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        "persistent-volume-binder",
        volumebinder::start,
    ),
    controller(
        "ephemeral-volume-controller",
        "ephemeral-volume",
        "ephemeral-volume-controller",
        ephemeralvolume::start,
    ),
    controller(
        "resourceclaim-controller",
        "resource-claim-controller",
        "resource-claim-controller",
        resourceclaim::start,
    ),
    controller(
        "device-taint-eviction-controller",
        "device-taint-eviction-controller",
        "device-taint-eviction-controller",
        devicetainteviction::start,
    ),
    controller("service-cidr-controller", "service-cidr-controller", "service-cidrs-controller", servicecidr::start),
    controller(
        "validatingadmissionpolicy-status-controller",
        "validatingadmissionpolicy-status-controller",
        "validatingadmissionpolicy-status-controller",
        policy_status::start,
    ),
];

/// Upstream's controllers that do not work here yet; `*` passes over them, naming one is refused.
pub const MISSING: &[&str] = &[
    "legacy-serviceaccount-token-cleaner-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "selinux-warning-controller",
];

/// Upstream's controllers behind feature gates that are off by default, and the gate: without it they do nothing, so that
/// naming one is fine. They do not work here, so the gate is refused.
pub const GATED: &[(&str, &str)] = &[
    ("kube-apiserver-serving-clustertrustbundle-publisher-controller", "ClusterTrustBundle"),
    ("podcertificaterequest-cleaner-controller", "PodCertificateRequest"),
    ("storage-version-migrator-controller", "StorageVersionMigrator"),
    ("storageversion-garbage-collector-controller", "StorageVersionAPI"),
];

/// Refuses gates that would start controllers which do not work here.
pub fn check_gates(gates: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let is_on = |gate: &str| gates.get(gate).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match GATED.iter().find(|(_, gate)| is_on(gate)) {
        Some((name, gate)) => bail!("--feature-gates: {gate} is not implemented: there is no {name}"),
        None => Ok(()),
    }
}

/// The controllers that `--controllers` asks for: `*` for those on by default, `name`, `-name`.
pub fn select(wanted: &[String]) -> anyhow::Result<Vec<&'static Controller>> {
    let all = ["*".to_owned()];
    let wanted = if wanted.is_empty() { &all[..] } else { wanted };
    for item in wanted.iter().filter(|item| *item != "*") {
        let name = item.strip_prefix('-').unwrap_or(item);
        if MISSING.contains(&name) {
            if item.starts_with('-') {
                continue;
            }
            bail!("--controllers: {name} is not implemented");
        }
        if let Some((_, gate)) = GATED.iter().find(|(gated, _)| *gated == name) {
            tracing::info!(controller = name, gate, "the controller is disabled by a feature gate");
            continue;
        }
        if !ALL.iter().any(|c| c.name == name || c.alias == name) {
            bail!("--controllers: {name:?} is not in the list of known controllers");
        }
    }
    Ok(ALL.iter().filter(|c| is_selected(c, wanted)).collect())
}

fn is_selected(controller: &Controller, wanted: &[String]) -> bool {
    let named = |item: &str| item == controller.name || item == controller.alias;
    for item in wanted {
        if named(item) {
            return true;
        }
        if item.strip_prefix('-').is_some_and(named) {
            return false;
        }
    }
    controller.by_default && wanted.iter().any(|item| item == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<_> = wanted.iter().map(|w| (*w).to_owned()).collect();
        select(&wanted).unwrap().iter().map(|c| c.name).collect()
    }

    #[test]
    fn selection_is_upstreams() {
        assert_eq!(names(&[]).len(), ALL.iter().filter(|c| c.by_default).count());
        assert_eq!(names(&["deployment", "namespace-controller"]), ["namespace-controller", "deployment-controller"]);
        assert!(!names(&["*", "-deployment-controller"]).contains(&"deployment-controller"));
        assert_eq!(names(&["-deployment"]), [""; 0]);
        assert!(select(&["attachdetach".to_owned()]).is_err());
        assert!(select(&[MISSING[0].to_owned()]).is_err());
        assert!(select(&["*".to_owned(), format!("-{}", MISSING[0])]).is_ok());
        assert_eq!(names(&[GATED[0].0]), [""; 0]);
    }

    #[test]
    fn gates_of_missing_controllers_are_refused() {
        let gates = |text: &str| BTreeMap::from([(GATED[0].1.to_owned(), text.to_owned())]);
        assert!(check_gates(&gates("true")).is_err());
        assert!(check_gates(&gates("false")).is_ok());
    }

    #[test]
    fn names_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        let aliases = ALL.iter().filter(|c| c.alias != c.name).map(|c| c.alias);
        for name in ALL
            .iter()
            .map(|c| c.name)
            .chain(aliases)
            .chain(MISSING.iter().copied())
            .chain(GATED.iter().map(|(name, _)| *name))
        {
            assert!(seen.insert(name), "{name} twice");
        }
    }
}
