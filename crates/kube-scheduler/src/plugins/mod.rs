//! The table of plugins. One file each; a new one is a file and a line in [`all`].

mod default_binder;
mod default_preemption;
mod dynamic_resources;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
#[cfg(test)]
mod tests;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::framework::{ConfigError, Descriptor};

/// Every plugin, in the order in which upstream's default configuration asks them.
#[must_use]
pub fn all() -> &'static [Descriptor] {
    const ALL: &[Descriptor] = &[
        scheduling_gates::DESCRIPTOR,
        priority_sort::DESCRIPTOR,
        node_unschedulable::DESCRIPTOR,
        node_name::DESCRIPTOR,
        taint_toleration::DESCRIPTOR,
        node_affinity::DESCRIPTOR,
        node_ports::DESCRIPTOR,
        node_resources::FIT,
        volume_restrictions::DESCRIPTOR,
        node_volume_limits::DESCRIPTOR,
        volume_binding::DESCRIPTOR,
        volume_zone::DESCRIPTOR,
        pod_topology_spread::DESCRIPTOR,
        inter_pod_affinity::DESCRIPTOR,
        dynamic_resources::DESCRIPTOR,
        default_preemption::DESCRIPTOR,
        node_resources::BALANCED,
        image_locality::DESCRIPTOR,
        default_binder::DESCRIPTOR,
    ];
    ALL
}

/// The plugin of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Descriptor> {
    all().iter().find(|d| d.name == name)
}

/// A plugin's arguments, the defaults where none are given. `apiVersion` and `kind` may be there and are not looked at.
fn args<T: DeserializeOwned + Default>(plugin: &'static str, args: &Value) -> Result<T, ConfigError> {
    if args.is_null() {
        return Ok(T::default());
    }
    let mut args = args.clone();
    if let Some(fields) = args.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    serde_json::from_value(args).map_err(|error| ConfigError::Args { plugin, message: error.to_string() })
}
