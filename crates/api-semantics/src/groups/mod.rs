//! One module per API group, one file per kind, and the table that joins them.

pub(crate) mod admissionregistration;
pub(crate) mod apiextensions;
pub(crate) mod apiregistration;
pub(crate) mod apps;
pub(crate) mod autoscaling;
pub(crate) mod batch;
pub(crate) mod certificates;
pub(crate) mod coordination;
pub(crate) mod core;
pub(crate) mod discovery;
pub(crate) mod events;
pub(crate) mod flowcontrol;
pub(crate) mod internal;
pub(crate) mod networking;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod rbac;
pub(crate) mod resource;
pub(crate) mod scheduling;
pub(crate) mod storage;

use crate::kind::Kind;
use crate::strategy::Strategy;

type Kinds = &'static [(&'static str, Option<&'static str>, &'static Kind)];

/// Every group with its kinds.
static GROUPS: &[(&str, Kinds)] = &[
    ("admissionregistration.k8s.io", admissionregistration::KINDS),
    ("apiextensions.k8s.io", apiextensions::KINDS),
    ("apiregistration.k8s.io", apiregistration::KINDS),
    ("apps", apps::KINDS),
    ("autoscaling", autoscaling::KINDS),
    ("batch", batch::KINDS),
    ("certificates.k8s.io", certificates::KINDS),
    ("coordination.k8s.io", coordination::KINDS),
    ("", core::KINDS),
    ("discovery.k8s.io", discovery::KINDS),
    ("events.k8s.io", events::KINDS),
    ("flowcontrol.apiserver.k8s.io", flowcontrol::KINDS),
    ("internal.apiserver.k8s.io", internal::KINDS),
    ("networking.k8s.io", networking::KINDS),
    ("node.k8s.io", node::KINDS),
    ("policy", policy::KINDS),
    ("rbac.authorization.k8s.io", rbac::KINDS),
    ("resource.k8s.io", resource::KINDS),
    ("scheduling.k8s.io", scheduling::KINDS),
    ("storage.k8s.io", storage::KINDS),
    ("storagemigration.k8s.io", internal::MIGRATION_KINDS),
];

/// The strategy of a built-in kind; `None` for kinds that are not built in.
pub fn strategy_for(group: &str, version: &str, kind: &str) -> Option<&'static dyn Strategy> {
    find(group, version, kind).map(|k| k as &dyn Strategy)
}

fn find(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    let (_, kinds) = GROUPS.iter().find(|(g, _)| *g == group)?;
    kinds.iter().find(|(k, v, _)| *k == kind && v.is_none_or(|v| v == version)).map(|(_, _, k)| *k)
}
