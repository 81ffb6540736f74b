//! The admission plugins: one row each, in the order in which they run.

mod amounts;
mod certificates;
mod claim_resize;
mod configuration;
mod default_class;
mod event_rate_limit;
mod limit_ranger;
mod namespace_lifecycle;
mod namespaces;
mod node_restriction;
mod owner_references;
mod pod_groups;
mod pod_nodes;
mod pod_security;
mod policy;
mod priority;
mod rbac_escalation;
mod resource_quota;
mod runtime_class;
mod service_account;
mod simple;
mod storage_in_use;
mod taint_nodes;
mod tolerations;
mod webhook;

use std::sync::Arc;

use anyhow::{Result, bail};
use apiserver::admission::Plugin;

pub(crate) use configuration::Configurations;

use crate::{cell::CoreCell, config::Config};

/// Plugins that upstream has and that are not there yet; naming them to be disabled is fine.
const ABSENT: [&str; 1] = ["ImagePolicyWebhook"];

/// The plugins that run: those on by default and those enabled, without those disabled.
pub(crate) fn plugins(config: &Config, core: &CoreCell) -> Result<Vec<Arc<dyn Plugin>>> {
    let all = table(config, core)?;
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

/// (plugin, on by default), in upstream's order.
fn table(config: &Config, core: &CoreCell) -> Result<Vec<(Arc<dyn Plugin>, bool)>> {
    let cell = || core.clone();
    let file = &config.admission;
    let groups = config.gates.enabled("GenericWorkload", false);
    Ok(vec![
        (Arc::new(simple::Nothing("AlwaysAdmit")), false),
        (Arc::new(namespaces::NamespaceAutoProvision(cell())), false),
        (Arc::new(namespace_lifecycle::NamespaceLifecycle(cell())), true),
        (Arc::new(namespaces::NamespaceExists(cell())), false),
        (Arc::new(simple::LimitPodHardAntiAffinityTopology), false),
        (Arc::new(limit_ranger::LimitRanger(cell())), true),
        (Arc::new(service_account::ServiceAccount(cell())), true),
        (Arc::new(node_restriction::NodeRestriction(cell())), false),
        (Arc::new(taint_nodes::TaintNodesByCondition), true),
        (Arc::new(simple::AlwaysPullImages), false),
        (Arc::new(pod_security::PodSecurity { cell: cell(), configuration: file.pod_security()? }), true),
        (Arc::new(pod_nodes::PodNodeSelector { cell: cell(), selectors: file.pod_node_selector()? }), false),
        (Arc::new(priority::Priority(cell())), true),
        (Arc::new(tolerations::DefaultTolerationSeconds::new(config)), true),
        (
            Arc::new(pod_nodes::PodTolerationRestriction { cell: cell(), restriction: file.toleration_restriction()? }),
            false,
        ),
        (Arc::new(event_rate_limit::EventRateLimit::new(file.event_limits()?)), false),
        (Arc::new(simple::ExtendedResourceToleration), false),
        (Arc::new(default_class::DefaultClass::storage(cell())), true),
        (Arc::new(storage_in_use::StorageObjectInUseProtection), true),
        (Arc::new(pod_groups::PodGroupProtection { cell: cell(), enabled: groups }), true),
        (Arc::new(owner_references::OwnerReferences(cell())), false),
        (Arc::new(claim_resize::ClaimResize(cell())), true),
        (Arc::new(runtime_class::RuntimeClass(cell())), true),
        (Arc::new(certificates::SignerAccess::approval(cell())), true),
        (Arc::new(certificates::SignerAccess::signing(cell())), true),
        (Arc::new(certificates::TrustBundleAttest(cell())), true),
        (Arc::new(certificates::SubjectRestriction), true),
        (Arc::new(default_class::DefaultClass::ingress(cell())), true),
        (Arc::new(simple::DenyServiceExternalIps), false),
        (Arc::new(pod_nodes::PodTopologyLabels(cell())), true),
        (Arc::new(pod_groups::PodGroupWorkloadExists { cell: cell(), enabled: groups }), true),
        (Arc::new(pod_nodes::NodeDeclaredFeatures(cell())), true),
        (Arc::new(simple::Nothing("JobValidation")), true),
        (Arc::new(pod_nodes::PodResize(cell())), true),
        (Arc::new(policy::MutatingAdmissionPolicy::new(cell())), true),
        (Arc::new(webhook::MutatingAdmissionWebhook::new(cell(), config.services_by_endpoints)), true),
        (Arc::new(policy::ValidatingAdmissionPolicy::new(cell())), true),
        (Arc::new(webhook::ValidatingAdmissionWebhook::new(cell(), config.services_by_endpoints)), true),
        // What this charges, nobody else refuses.
        (Arc::new(resource_quota::ResourceQuota { cell: cell(), limited: file.limited_resources()? }), true),
        (Arc::new(simple::AlwaysDeny), false),
    ])
}
