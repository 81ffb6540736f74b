//! From chosen devices to the allocation that the claim's status holds.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::{
        core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
        resource::v1::{
            AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
        },
    },
    apimachinery::pkg::api::resource::Quantity,
};
use component_base::rng;

use super::{
    allocator::Chosen,
    needs::{ClaimNeeds, Need},
};

/// The claim's allocation on the node.
pub(super) fn allocation(claim: &ClaimNeeds<'_>, chosen: &[Chosen<'_>], node: &str) -> AllocationResult {
    let results = chosen.iter().map(|chosen| result(need(claim, chosen), chosen)).collect();
    AllocationResult {
        allocation_timestamp: None,
        devices: Some(DeviceAllocationResult { config: Some(configuration(claim, chosen)), results: Some(results) }),
        node_selector: node_selector(chosen, node),
    }
}

fn need<'n, 'a>(claim: &'n ClaimNeeds<'a>, chosen: &Chosen<'_>) -> &'n Need<'a> {
    &claim.requests[chosen.request.0][chosen.request.1]
}

fn result(need: &Need<'_>, chosen: &Chosen<'_>) -> DeviceRequestAllocationResult {
    let (driver, pool, device) = chosen.candidate.id();
    let written = |share: &BTreeMap<String, api_types::quantity::Quantity>| {
        share.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))).collect::<BTreeMap<_, _>>()
    };
    DeviceRequestAllocationResult {
        admin_access: need.admin.then_some(true),
        binding_conditions: chosen.candidate.device.binding_conditions.clone(),
        binding_failure_conditions: chosen.candidate.device.binding_failure_conditions.clone(),
        consumed_capacity: chosen.share.as_ref().map(written).filter(|share| !share.is_empty()),
        device: device.to_owned(),
        driver: driver.to_owned(),
        pool: pool.to_owned(),
        request: need.name.to_string(),
        share_id: chosen.share.as_ref().map(|_| rng::uuid().to_string()),
        tolerations: Some(need.tolerations.to_vec()).filter(|tolerations| !tolerations.is_empty()),
    }
}

/// The configuration of the classes, each once, then that of the claim; what holds for every request names none.
fn configuration(claim: &ClaimNeeds<'_>, chosen: &[Chosen<'_>]) -> Vec<DeviceAllocationConfiguration> {
    // Of a request with alternatives, the one that was chosen.
    let picked: Vec<&Need<'_>> = claim
        .requests
        .iter()
        .enumerate()
        .filter_map(|(index, options)| {
            let option = chosen.iter().find(|c| c.request.0 == index).map_or(0, |c| c.request.1);
            options.get(option)
        })
        .collect();
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut places: BTreeMap<&str, std::ops::Range<usize>> = BTreeMap::new();
    for need in &picked {
        let class = need.class.metadata.name.as_deref().unwrap_or_default();
        if let Some(place) = places.get(class) {
            let entries = all[place.clone()].iter_mut();
            entries.for_each(|entry| entry.requests.get_or_insert_default().push(need.name.to_string()));
            continue;
        }
        let start = all.len();
        all.extend(need.class.spec.config.iter().flatten().map(|config| DeviceAllocationConfiguration {
            opaque: config.opaque.clone(),
            requests: Some(vec![need.name.to_string()]),
            source: "FromClass".to_owned(),
        }));
        places.insert(class, start..all.len());
    }
    let named = |requests: &[String]| {
        let base = |name: &str| name.split_once('/').map_or(name, |(base, _)| base).to_owned();
        picked.iter().any(|need| requests.iter().any(|r| *r == *need.name || *r == base(&need.name)))
    };
    for config in claim.config {
        let requests = config.requests.clone().unwrap_or_default();
        if requests.is_empty() || named(&requests) {
            all.push(DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: Some(requests),
                source: "FromClaim".to_owned(),
            });
        }
    }
    for entry in &mut all {
        if entry.requests.as_ref().is_some_and(|r| r.is_empty() || r.len() == claim.requests.len()) {
            entry.requests = None;
        }
    }
    all
}

/// Where pods can use the devices; nothing said: everywhere.
fn node_selector(chosen: &[Chosen<'_>], node: &str) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for candidate in chosen.iter().map(|chosen| &chosen.candidate) {
        let (slice, device) = (candidate.slice, candidate.device);
        let (name, selector) = if slice.per_device_node_selection == Some(true) {
            (&device.node_name, &device.node_selector)
        } else {
            (&slice.node_name, &slice.node_selector)
        };
        if name.as_deref().is_some_and(|n| !n.is_empty()) || device.binds_to_node == Some(true) {
            let own = NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            };
            let term = NodeSelectorTerm { match_fields: Some(vec![own]), match_expressions: None };
            return Some(NodeSelector { node_selector_terms: vec![term] });
        }
        for more in selector.iter().flat_map(|s| &s.node_selector_terms) {
            extend(&mut term.match_fields, more.match_fields.as_deref());
            extend(&mut term.match_expressions, more.match_expressions.as_deref());
        }
    }
    let anywhere = term.match_fields.is_none() && term.match_expressions.is_none();
    (!anywhere).then(|| NodeSelector { node_selector_terms: vec![term] })
}

fn extend(into: &mut Option<Vec<NodeSelectorRequirement>>, more: Option<&[NodeSelectorRequirement]>) {
    for requirement in more.into_iter().flatten() {
        let known = into.get_or_insert_default();
        if !known.contains(requirement) {
            known.push(requirement.clone());
        }
    }
}
