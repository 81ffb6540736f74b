//! The core group.

mod config_map;
mod endpoints;
mod event;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;

pub(crate) use node::single_and_list;
pub(crate) use persistent_volume_claim::{access_modes, claim_spec, claim_spec_defaults, source_groups};

use crate::kind::Kind;

/// The kinds of the group, and the version that an entry is limited to.
pub(crate) static KINDS: &[(&str, Option<&str>, &Kind)] = &[
    ("ConfigMap", None, &config_map::KIND),
    ("Endpoints", None, &endpoints::KIND),
    ("Event", None, &event::KIND),
    ("LimitRange", None, &limit_range::KIND),
    ("Namespace", None, &namespace::KIND),
    ("Node", None, &node::KIND),
    ("PersistentVolume", None, &persistent_volume::KIND),
    ("PersistentVolumeClaim", None, &persistent_volume_claim::KIND),
    ("Pod", None, &pod::KIND),
    ("PodTemplate", None, &pod_template::KIND),
    ("ReplicationController", None, &replication_controller::KIND),
    ("ResourceQuota", None, &resource_quota::KIND),
    ("Secret", None, &secret::KIND),
    ("Service", None, &service::KIND),
    ("ServiceAccount", None, &service_account::KIND),
];
