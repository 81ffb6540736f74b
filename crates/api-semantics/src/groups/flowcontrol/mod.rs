//! The group `flowcontrol.apiserver.k8s.io`.

mod flow_schema;
mod priority_level_configuration;

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("FlowSchema", None, &flow_schema::KIND),
    ("PriorityLevelConfiguration", None, &priority_level_configuration::KIND),
];
