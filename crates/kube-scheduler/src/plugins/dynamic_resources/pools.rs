//! Resource pools: the slices of one driver and pool that belong together, and which of them a node reaches.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use api_types::k8s_openapi::api::{
    core::v1::NodeSelector,
    resource::v1::{Device, ResourceSlice, ResourceSliceSpec},
};
use component_helpers::node_affinity;

use crate::cache::NodeInfo;

/// The newest generation of a pool.
pub(super) struct Pool<'a> {
    pub(super) driver: &'a str,
    pub(super) name: &'a str,
    /// Whether the driver is still publishing it.
    pub(super) incomplete: bool,
    /// Whether it contradicts itself; found out when the pool is first used.
    invalid: OnceLock<bool>,
    /// All of it, also what other nodes reach.
    pub(super) slices: Vec<&'a ResourceSliceSpec>,
    /// Whether a device waits for conditions before its pods may start.
    binds_later: bool,
}

/// A device that a node reaches.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) pool: usize,
    pub(super) slice: &'a ResourceSliceSpec,
    pub(super) device: &'a Device,
}

/// A device's name: driver, pool, device.
pub(super) type DeviceId<'a> = (&'a str, &'a str, &'a str);

impl<'a> Candidate<'a> {
    pub(super) fn id(&self) -> DeviceId<'a> {
        (&self.slice.driver, &self.slice.pool.name, &self.device.name)
    }

    /// Whether the node reaches the device, where that is said device by device.
    pub(super) fn reaches(&self, node: &NodeInfo) -> bool {
        let device = self.device;
        self.slice.per_device_node_selection != Some(true)
            || selects(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
    }
}

/// Every pool, in the order in which devices are tried: those first that need no further conditions, then by name.
pub(super) struct Pools<'a> {
    pub(super) all: Vec<Pool<'a>>,
    /// Pools with slices of one node, by its name.
    local: BTreeMap<&'a str, BTreeSet<usize>>,
    /// Pools that several nodes may reach.
    shared: BTreeSet<usize>,
}

impl<'a> Pools<'a> {
    pub(super) fn new(slices: impl Iterator<Item = &'a ResourceSlice>) -> Self {
        let mut grouped: BTreeMap<(&str, &str), Vec<&ResourceSliceSpec>> = BTreeMap::new();
        for slice in slices {
            grouped.entry((&slice.spec.driver, &slice.spec.pool.name)).or_default().push(&slice.spec);
        }
        let mut all: Vec<Pool<'_>> = grouped.into_iter().map(|(id, slices)| pool(id, slices)).collect();
        all.sort_by_key(|pool| pool.binds_later);
        let mut pools = Pools { all: Vec::new(), local: BTreeMap::new(), shared: BTreeSet::new() };
        for (index, pool) in all.iter().enumerate() {
            for slice in &pool.slices {
                match slice.node_name.as_deref() {
                    Some(node) if !node.is_empty() => {
                        pools.local.entry(node).or_default().insert(index);
                    }
                    _ => {
                        pools.shared.insert(index);
                    }
                }
            }
        }
        pools.all = all;
        pools
    }

    /// The pools with something for the node, in order.
    pub(super) fn of(&self, node: &NodeInfo) -> Vec<usize> {
        let local = self.local.get(node.name());
        let mut indices: BTreeSet<usize> = local.into_iter().flatten().copied().collect();
        indices.extend(self.shared.iter().filter(|at| self.all[**at].slices.iter().any(|slice| targets(slice, node))));
        indices.into_iter().collect()
    }

    /// The devices of a pool that come into question for the node.
    pub(super) fn devices(&self, pool: usize, node: &NodeInfo) -> Vec<Candidate<'a>> {
        let mut found = Vec::new();
        for slice in self.all[pool].slices.iter().copied().filter(|slice| targets(slice, node)) {
            let devices = slice.devices.iter().flatten();
            found.extend(devices.map(|device| Candidate { pool, slice, device }));
        }
        found
    }
}

fn pool<'a>((driver, name): (&'a str, &'a str), mut slices: Vec<&'a ResourceSliceSpec>) -> Pool<'a> {
    let newest = slices.iter().map(|s| s.pool.generation).max().unwrap_or(0);
    slices.retain(|s| s.pool.generation == newest);
    let wanted = slices.first().map_or(0, |s| s.pool.resource_slice_count);
    let mut devices = slices.iter().flat_map(|s| s.devices.iter().flatten());
    Pool {
        driver,
        name,
        incomplete: i64::try_from(slices.len()) != Ok(wanted),
        invalid: OnceLock::new(),
        binds_later: devices.any(|d| d.binding_conditions.as_ref().is_some_and(|c| !c.is_empty())),
        slices,
    }
}

impl Pool<'_> {
    /// Whether the pool contradicts itself.
    pub(super) fn is_invalid(&self) -> bool {
        *self.invalid.get_or_init(|| {
            let devices = || self.slices.iter().flat_map(|s| s.devices.iter().flatten());
            let mut names = BTreeSet::new();
            let unique = devices().all(|device| names.insert(&device.name));
            let sets = self.slices.iter().flat_map(|s| s.shared_counters.iter().flatten());
            let sets: BTreeSet<&str> = sets.map(|set| set.name.as_str()).collect();
            let mut used = devices().flat_map(|d| d.consumes_counters.iter().flatten());
            // The counters may be in a slice that is still to come.
            !unique || (!self.incomplete && !used.all(|c| sets.contains(c.counter_set.as_str())))
        })
    }
}

/// Whether some device of the slice may be for the node.
fn targets(slice: &ResourceSliceSpec, node: &NodeInfo) -> bool {
    if slice.per_device_node_selection == Some(true) {
        let own = |d: &Device| selects(node, d.node_name.as_deref(), d.all_nodes, d.node_selector.as_ref());
        return slice.devices.iter().flatten().any(own);
    }
    selects(node, slice.node_name.as_deref(), slice.all_nodes, slice.node_selector.as_ref())
}

fn selects(node: &NodeInfo, name: Option<&str>, all: Option<bool>, selector: Option<&NodeSelector>) -> bool {
    match (name.filter(|n| !n.is_empty()), selector) {
        (Some(name), _) => node.name() == name,
        (None, _) if all == Some(true) => true,
        (None, Some(selector)) => node_affinity::selector_matches(selector, &node.node),
        (None, None) => false,
    }
}
