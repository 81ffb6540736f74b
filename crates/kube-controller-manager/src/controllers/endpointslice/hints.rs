//! For whom each endpoint is meant: hints that keep traffic near. Pure.
//!
//! `trafficDistribution` points each ready endpoint at its own zone, and node where asked (KEP-3015). The annotation
//! `service.kubernetes.io/topology-mode: Auto` shares the endpoints out among the zones by their CPUs (KEP-2433): it keeps hints that are
//! good in slices that do not change, starts with each endpoint's own zone in the others, and gives from zones that have too many.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone},
};
use component_helpers::{conditions, quantity};
use kube::ResourceExt;

use super::members;

const MODE: &str = "service.kubernetes.io/topology-mode";
/// Its former name.
const FORMER_MODE: &str = "service.kubernetes.io/topology-aware-hints";
/// Nodes that take no part in the load.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// How much more than its share an endpoint may get.
const OVERLOAD: f64 = 0.2;

/// How a service's endpoints get hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    /// Near first: in the zone, and on the node with `nodes`.
    Close {
        nodes: bool,
    },
    /// By the zones' CPUs.
    Auto,
}

/// The mode that a service asks for.
pub(super) fn mode(service: &Service) -> Mode {
    let annotations = service.annotations();
    let auto = annotations.get(MODE).or_else(|| annotations.get(FORMER_MODE));
    if auto.is_some_and(|value| value == "Auto" || value == "auto") {
        return Mode::Auto;
    }
    match service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref()) {
        Some("PreferClose" | "PreferSameZone") => Mode::Close { nodes: false },
        Some("PreferSameNode") => Mode::Close { nodes: true },
        _ => Mode::Off,
    }
}

/// The hints of an endpoint whose traffic stays close.
pub(super) fn close(endpoint: &Endpoint, nodes: bool) -> Option<EndpointHints> {
    if !is_ready(endpoint) {
        return None;
    }
    let node = endpoint.node_name.clone().filter(|_| nodes);
    let hints = EndpointHints {
        for_zones: endpoint.zone.clone().map(|name| vec![ForZone { name }]),
        for_nodes: node.map(|name| vec![ForNode { name }]),
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

/// The part of the CPUs that each zone has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zones(BTreeMap<String, f64>);

/// What a node adds to its zone: the zone's name, where it has one, and thousandths of CPUs. Nothing while it takes no load.
pub(super) fn contribution(node: &Node) -> Option<(Option<String>, i64)> {
    let status = node.status.as_ref();
    let is_ready = conditions::is_true(status.and_then(|status| status.conditions.as_ref()), "Ready");
    if !is_ready || CONTROL_PLANE.iter().any(|label| node.labels().contains_key(*label)) {
        return None;
    }
    let cpu = status.and_then(|status| status.allocatable.as_ref()).and_then(|all| all.get("cpu"));
    Some((members::zone(Some(node)).filter(|zone| !zone.is_empty()), cpu.map_or(0, quantity::milli_value)))
}

impl Zones {
    /// None where a node's zone or CPUs are unknown, or there are fewer than two zones.
    pub(super) fn of(nodes: &[Arc<Node>]) -> Option<Self> {
        let mut zones = BTreeMap::<String, i64>::new();
        for (zone, cpu) in nodes.iter().filter_map(|node| contribution(node)) {
            *zones.entry(zone.filter(|_| cpu > 0)?).or_default() += cpu;
        }
        let total: i64 = zones.values().sum();
        let ratios = zones.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total as f64)).collect();
        Some(Self(ratios)).filter(|zones| zones.0.len() > 1)
    }

    /// How many of the endpoints each zone gets.
    fn allocate(&self, endpoints: usize) -> Result<BTreeMap<&str, Allocation>, String> {
        let zones = self.0.len();
        let numbers = format!("({endpoints} endpoints, {zones} zones)");
        if zones > endpoints {
            return Err(format!("Insufficient number of endpoints {numbers}"));
        }
        let share = |ratio: f64| {
            let desired = ratio * endpoints as f64;
            let minimum = (desired / (1.0 + OVERLOAD)).ceil() as usize;
            Allocation { minimum, maximum: 0, desired: desired.max(minimum as f64) }
        };
        let mut all: BTreeMap<_, _> = self.0.iter().map(|(zone, ratio)| (zone.as_str(), share(*ratio))).collect();
        let minimum: usize = all.values().map(|allocation| allocation.minimum).sum();
        let Some(spare) = endpoints.checked_sub(minimum) else {
            return Err(format!(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold {numbers}"
            ));
        };
        all.values_mut().for_each(|allocation| allocation.maximum = allocation.minimum + spare);
        Ok(all)
    }
}

struct Allocation {
    minimum: usize,
    maximum: usize,
    desired: f64,
}

type Counts = BTreeMap<String, usize>;

/// A slice's endpoints; `kept` where nothing but the hints could change.
pub(super) struct Hinted<'a> {
    pub(super) endpoints: &'a mut Vec<Endpoint>,
    pub(super) kept: bool,
}

/// Sets the hints of all slices of one address family by the zones' CPUs; or says why there can be none, and removes them.
pub(super) fn allocate(slices: &mut [Hinted<'_>], zones: Option<&Zones>) -> Result<(), String> {
    let result = try_allocate(slices, zones);
    if result.is_err() {
        let endpoints = slices.iter_mut().flat_map(|slice| slice.endpoints.iter_mut());
        endpoints.for_each(|endpoint| endpoint.hints = None);
    }
    result
}

fn try_allocate(slices: &mut [Hinted<'_>], zones: Option<&Zones>) -> Result<(), String> {
    let unknown = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
    let zones = zones.ok_or(unknown)?;
    let ready = slices.iter().flat_map(|slice| slice.endpoints.iter()).filter(|endpoint| is_ready(endpoint)).count();
    let allocations = zones.allocate(ready)?;
    let mut allocated = Counts::new();
    for slice in slices.iter_mut().filter(|slice| slice.kept) {
        match good_hints(slice.endpoints, &allocated, &allocations) {
            Some(counts) => counts.into_iter().for_each(|(zone, count)| *allocated.entry(zone).or_default() += count),
            None => slice.kept = false,
        }
    }
    let mut movable: Vec<_> =
        slices.iter_mut().filter(|slice| !slice.kept).flat_map(|s| s.endpoints.iter_mut()).collect();
    for endpoint in &mut movable {
        endpoint.hints = None;
        if !is_ready(endpoint) {
            continue;
        }
        let Some(zone) = endpoint.zone.clone().filter(|zone| !zone.is_empty()) else {
            return Err("One or more endpoints do not have a zone specified".into());
        };
        *allocated.entry(zone.clone()).or_default() += 1;
        endpoint.hints = for_zone(zone);
    }
    if allocated.is_empty() {
        return Err("No hints allocated for zones".into());
    }
    redistribute(&mut movable, exchanges(&allocations, &allocated));
    Ok(())
}

fn for_zone(name: String) -> Option<EndpointHints> {
    Some(EndpointHints { for_zones: Some(vec![ForZone { name }]), for_nodes: None })
}

/// The hints of a slice by zone; none where they have to be made anew: they miss, name other zones, or take too many.
fn good_hints(endpoints: &[Endpoint], allocated: &Counts, allocations: &BTreeMap<&str, Allocation>) -> Option<Counts> {
    let mut counts = Counts::new();
    for endpoint in endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
        let hints = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        hints.iter().for_each(|hint| *counts.entry(hint.name.clone()).or_default() += 1);
    }
    let fits = |(zone, count): (&String, &usize)| {
        let most = allocations.get(zone.as_str()).map(|allocation| allocation.maximum);
        most.is_some_and(|most| count + allocated.get(zone).copied().unwrap_or_default() <= most)
    };
    counts.iter().all(fits).then_some(counts)
}

/// How many endpoints zones give, and how many others get.
fn exchanges(allocations: &BTreeMap<&str, Allocation>, allocated: &Counts) -> (Counts, Counts) {
    let (mut too_many, mut too_few) = (BTreeMap::new(), BTreeMap::new());
    for (zone, allocation) in allocations {
        let over = allocated.get(*zone).copied().unwrap_or_default() as f64 - allocation.desired;
        match over > 0.0 {
            true => too_many.insert((*zone).to_owned(), over),
            false => too_few.insert((*zone).to_owned(), -over),
        };
    }
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    while let (Some((giver, give)), Some((receiver, receive))) = (most(&too_many), most(&too_few)) {
        if (give < 1.0 && receive < 1.0) || give < 0.5 || receive < 0.5 {
            break;
        }
        too_many.insert(giver.clone(), give - 1.0);
        too_few.insert(receiver.clone(), receive - 1.0);
        *giving.entry(giver).or_default() += 1;
        *receiving.entry(receiver).or_default() += 1;
    }
    (giving, receiving)
}

/// The zone with the highest number above nothing.
fn most(zones: &BTreeMap<String, f64>) -> Option<(String, f64)> {
    let above = zones.iter().filter(|(_, number)| **number > 0.0);
    above.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0))).map(|(zone, number)| (zone.clone(), *number))
}

fn redistribute(endpoints: &mut [&mut Endpoint], (mut giving, mut receiving): (Counts, Counts)) {
    for endpoint in endpoints.iter_mut().filter(|endpoint| is_ready(endpoint)) {
        let Some(left) = endpoint.zone.as_ref().and_then(|zone| giving.get_mut(zone)).filter(|left| **left > 0) else {
            continue;
        };
        let Some((zone, wanted)) = receiving.iter_mut().find(|(_, wanted)| **wanted > 0) else { return };
        (*left, *wanted) = (*left - 1, *wanted - 1);
        endpoint.hints = for_zone(zone.clone());
    }
}
