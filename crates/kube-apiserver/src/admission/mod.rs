//! The admission plugins: one row each, in the order in which they run.

mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod tolerations;

use std::sync::Arc;

use anyhow::{Result, bail};
use apiserver::admission::Plugin;

use crate::{cell::CoreCell, config::Config};

/// Plugins that upstream has and that are not there yet; naming them to be disabled is fine.
const ABSENT: [&str; 33] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "JobValidation",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
    "PodNodeSelector",
    "PodResizeValidator",
    "PodSecurity",
    "PodTolerationRestriction",
    "PodTopologyLabels",
    "ResourceQuota",
    "RuntimeClass",
    "ValidatingAdmissionPolicy",
];

/// The plugins that run: those on by default and those enabled, without those disabled.
pub(crate) fn plugins(config: &Config, core: &CoreCell) -> Result<Vec<Arc<dyn Plugin>>> {
    let all = table(config, core);
    let known = |name: &String| ABSENT.contains(&name.as_str()) || all.iter().any(|(p, _)| p.name() == name);
    for name in config.enable_plugins.iter().chain(&config.disable_plugins) {
        if !known(name) {
            bail!("admission plugin {name:?} is unknown");
        }
    }
    for name in config.enable_plugins.iter().filter(|n| ABSENT.contains(&n.as_str())) {
        tracing::warn!(plugin = %name, "admission plugin is not implemented, it is not run");
    }
    let runs = |name: &str, default: bool| {
        let named = |list: &[String]| list.iter().any(|n| n == name);
        named(&config.enable_plugins) || (default && !named(&config.disable_plugins))
    };
    Ok(all.into_iter().filter(|(plugin, default)| runs(plugin.name(), *default)).map(|(plugin, _)| plugin).collect())
}

/// (plugin, on by default).
fn table(config: &Config, core: &CoreCell) -> Vec<(Arc<dyn Plugin>, bool)> {
    vec![
        (Arc::new(namespace_lifecycle::NamespaceLifecycle(core.clone())), true),
        (Arc::new(service_account::ServiceAccount(core.clone())), true),
        (Arc::new(node_restriction::NodeRestriction(core.clone())), false),
        (Arc::new(taint_nodes::TaintNodesByCondition), true),
        (Arc::new(priority::Priority(core.clone())), true),
        (Arc::new(storage_in_use::StorageObjectInUseProtection), true),
        (Arc::new(tolerations::DefaultTolerationSeconds::new(config)), true),
    ]
}
