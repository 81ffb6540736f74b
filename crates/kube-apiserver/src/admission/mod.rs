//! The admission plugins: one row each, in the order in which they run.

mod amounts;
mod certificates;
mod claim_resize;
mod default_class;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod policy;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_in_use;
mod taint_nodes;
mod tolerations;

use std::sync::Arc;

use anyhow::{Result, bail};
use apiserver::admission::Plugin;

use crate::{cell::CoreCell, config::Config};

/// Plugins that upstream has and that are not there yet; naming them to be disabled is fine.
const ABSENT: [&str; 22] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "ClusterTrustBundleAttest",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "JobValidation",
    "LimitPodHardAntiAffinityTopology",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
    "PodNodeSelector",
    "PodResizeValidator",
    "PodTolerationRestriction",
    "PodTopologyLabels",
    "ValidatingAdmissionWebhook",
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
    // Who asks for a guard must not be left without it silently.
    if let Some(name) = config.enable_plugins.iter().find(|n| ABSENT.contains(&n.as_str())) {
        bail!("--enable-admission-plugins: {name} is not implemented by this server");
    }
    let runs = |name: &str, default: bool| {
        let named = |list: &[String]| list.iter().any(|n| n == name);
        named(&config.enable_plugins) || (default && !named(&config.disable_plugins))
    };
    let chosen = all.into_iter().filter(|(plugin, default)| runs(plugin.name(), *default)).map(|(plugin, _)| plugin);
    let always: Arc<dyn Plugin> = Arc::new(rbac_escalation::RbacEscalation(core.clone()));
    Ok(chosen.chain([always]).collect())
}

/// (plugin, on by default).
fn table(config: &Config, core: &CoreCell) -> Vec<(Arc<dyn Plugin>, bool)> {
    vec![
        (Arc::new(namespace_lifecycle::NamespaceLifecycle(core.clone())), true),
        (Arc::new(limit_ranger::LimitRanger(core.clone())), true),
        (Arc::new(service_account::ServiceAccount(core.clone())), true),
        (Arc::new(node_restriction::NodeRestriction(core.clone())), false),
        (Arc::new(taint_nodes::TaintNodesByCondition), true),
        (Arc::new(pod_security::PodSecurity(core.clone())), true),
        (Arc::new(priority::Priority(core.clone())), true),
        (Arc::new(default_class::DefaultClass::storage(core.clone())), true),
        (Arc::new(storage_in_use::StorageObjectInUseProtection), true),
        (Arc::new(claim_resize::ClaimResize(core.clone())), true),
        (Arc::new(runtime_class::RuntimeClass(core.clone())), true),
        (Arc::new(certificates::SignerAccess::approval(core.clone())), true),
        (Arc::new(certificates::SignerAccess::signing(core.clone())), true),
        (Arc::new(certificates::SubjectRestriction), true),
        (Arc::new(default_class::DefaultClass::ingress(core.clone())), true),
        (Arc::new(tolerations::DefaultTolerationSeconds::new(config)), true),
        (Arc::new(policy::MutatingAdmissionPolicy::new(core.clone())), true),
        (Arc::new(policy::ValidatingAdmissionPolicy::new(core.clone())), true),
        // Last: what it charges, nobody else refuses.
        (Arc::new(resource_quota::ResourceQuota(core.clone())), true),
    ]
}
