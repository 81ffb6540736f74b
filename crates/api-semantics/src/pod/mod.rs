//! What every kind that contains a pod shares: defaults, the quality-of-service class, validation.

mod affinity;
mod containers;
pub(crate) mod defaults;
mod env;
pub(crate) mod label_keys;
mod probes;
pub(crate) mod qos;
mod resource_names;
pub(crate) mod resources;
mod scheduling;
mod security;
mod spec;
pub(crate) mod update;
pub(crate) mod volume_sources;
mod volumes;
pub(crate) mod warnings;

pub(crate) use affinity::node_selector;
pub(crate) use resource_names::{amount, any_resource_name, is_quota_resource, quota_name, resource_name};
pub(crate) use scheduling::{taint_effect, tolerations};
pub(crate) use spec::{Owner, pod_spec, pod_template};
