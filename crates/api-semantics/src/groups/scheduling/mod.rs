//! The group `scheduling.k8s.io`.

mod pod_group;
mod priority_class;
mod workload;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("PodGroup", None, &pod_group::KIND),
    ("PriorityClass", None, &priority_class::KIND),
    ("Workload", None, &workload::KIND),
];
