//! What the node has, and what pods may use of it. Pure.

use crate::config::Config;
use crate::host::{FsUsage, Machine};
use api_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use component_helpers::quantity::{milli_value, value};
use component_helpers::resources::Amounts;
use std::collections::BTreeMap;

/// Upstream's default eviction threshold for memory, which is kept from pods.
const EVICTION_MEMORY: u64 = 100 << 20;

fn quantity(text: String) -> Quantity {
    Quantity(text)
}

/// Whole KiB in the form that the API server stores: one that differs in form alone would be sent again and again.
fn kib(bytes: u64) -> Quantity {
    let bytes = i64::try_from(bytes / 1024 * 1024).unwrap_or(i64::MAX);
    quantity(api_types::Quantity::from_units(bytes, api_types::quantity::Format::BinarySi).to_string())
}

fn reserved(config: &Config, name: &str) -> u64 {
    let parse = |text: &String| {
        let quantity = Quantity(text.clone());
        if name == "cpu" { milli_value(&quantity) } else { value(&quantity) }
    };
    config.node.reserved.get(name).map_or(0, |text| u64::try_from(parse(text)).unwrap_or(0))
}

/// Everything there is. `disk` is the root directory's file system.
pub(crate) fn capacity(config: &Config, machine: &Machine, disk: &FsUsage) -> BTreeMap<String, Quantity> {
    BTreeMap::from([
        ("cpu".to_owned(), quantity(machine.cpus.to_string())),
        ("memory".to_owned(), kib(machine.memory)),
        ("ephemeral-storage".to_owned(), kib(disk.capacity)),
        ("pods".to_owned(), quantity(config.node.max_pods.to_string())),
    ])
}

/// What is left for pods.
pub(crate) fn allocatable(config: &Config, machine: &Machine, disk: &FsUsage) -> BTreeMap<String, Quantity> {
    let milli = (machine.cpus * 1000).saturating_sub(reserved(config, "cpu"));
    let cpu = if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") };
    let storage = (disk.capacity / 10 * 9).saturating_sub(reserved(config, "ephemeral-storage"));
    BTreeMap::from([
        ("cpu".to_owned(), quantity(cpu)),
        ("memory".to_owned(), kib(memory(config, machine))),
        ("ephemeral-storage".to_owned(), quantity(storage.to_string())),
        ("pods".to_owned(), quantity(config.node.max_pods.to_string())),
    ])
}

fn memory(config: &Config, machine: &Machine) -> u64 {
    machine.memory.saturating_sub(reserved(config, "memory")).saturating_sub(EVICTION_MEMORY)
}

/// What pods may use, as amounts for the fit check.
pub(crate) fn allocatable_amounts(config: &Config, machine: &Machine) -> Amounts {
    let milli = (machine.cpus * 1000).saturating_sub(reserved(config, "cpu"));
    Amounts::from([
        ("cpu".to_owned(), milli as i64),
        ("memory".to_owned(), memory(config, machine) as i64),
        ("pods".to_owned(), i64::from(config.node.max_pods)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_are_kept_from_pods() {
        let mut config = Config::new("n");
        config.node.reserved = BTreeMap::from([("cpu".into(), "500m".into()), ("memory".into(), "1Gi".into())]);
        let machine = Machine { cpus: 2, memory: 4 << 30, ..Machine::default() };
        let disk = FsUsage { capacity: 10 << 30, ..FsUsage::default() };
        let out = allocatable(&config, &machine, &disk);
        assert_eq!((out["cpu"].0.as_str(), out["memory"].0.as_str()), ("1500m", "2972Mi"));
        assert_eq!(out["ephemeral-storage"].0, "9663676416");
        assert_eq!(capacity(&config, &machine, &disk)["memory"].0, "4Gi");
        assert_eq!(allocatable_amounts(&config, &machine)["cpu"], 1500);
    }
}
