//! The slices that mirror an Endpoints object. Pure.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use api_types::k8s_openapi::{
    api::{
        core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use controller_runtime::owner;
use kube::ResourceExt;

use super::{MANAGED_BY, MANAGER, SERVICE_NAME};

const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const ENDPOINTS_MANAGER: &str = "endpoints.kubernetes.io/managed-by";
/// Upstream's limit of mirrored endpoints per subset.
const MAX: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Whether an Endpoints object is mirrored: written by a user, for a service that has no selector.
fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let skipped = endpoints.labels().get(SKIP).is_some_and(|value| value == "true")
        || endpoints.annotations().contains_key(LEADER)
        || endpoints.labels().contains_key(ENDPOINTS_MANAGER);
    let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref());
    !skipped && selector.is_none_or(BTreeMap::is_empty)
}

pub(super) fn plan(endpoints: Option<&Endpoints>, service: Option<&Service>, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut wanted = match (endpoints, service) {
        (Some(endpoints), Some(service)) if is_mirrored(endpoints, service) => slices(endpoints),
        _ => Vec::new(),
    };
    for slice in existing {
        let same = |w: &EndpointSlice| w.address_type == slice.address_type && w.ports == slice.ports;
        match wanted.iter().position(same) {
            None => plan.delete.push(slice.clone()),
            Some(index) => {
                let wanted = wanted.swap_remove(index);
                let mut updated = slice.as_ref().clone();
                updated.metadata.labels = wanted.metadata.labels;
                updated.endpoints = wanted.endpoints;
                if updated != **slice {
                    plan.update.push(updated);
                }
            }
        }
    }
    plan.create = wanted;
    plan
}

fn slices(endpoints: &Endpoints) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        for family in ["IPv4", "IPv6"] {
            let found = addresses(subset, family);
            if !found.is_empty() {
                slices.push(slice(endpoints, subset, family, found));
            }
        }
    }
    slices
}

fn addresses(subset: &EndpointSubset, family: &str) -> Vec<Endpoint> {
    let of_family =
        |address: &&EndpointAddress| address.ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() == (family == "IPv4"));
    let one = |address: &EndpointAddress, ready: bool| Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    let ready = subset.addresses.iter().flatten().filter(of_family).map(|a| one(a, true));
    let unready = subset.not_ready_addresses.iter().flatten().filter(of_family).map(|a| one(a, false));
    ready.chain(unready).take(MAX).collect()
}

fn slice(endpoints: &Endpoints, subset: &EndpointSubset, family: &str, found: Vec<Endpoint>) -> EndpointSlice {
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), endpoints.name_any());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let port = |port: &api_types::k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: port.protocol.clone().or_else(|| Some("TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", endpoints.name_any())),
            namespace: endpoints.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![owner::controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(found),
        ports: subset.ports.as_ref().filter(|p| !p.is_empty()).map(|ports| ports.iter().map(port).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(labels: serde_json::Value) -> Endpoints {
        serde_json::from_value(json!({
            "metadata": {"name": "ext", "namespace": "ns", "labels": labels},
            "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
                         "ports": [{"port": 80}]}]
        }))
        .unwrap()
    }

    #[test]
    fn one_slice_per_family_kept_in_step() {
        let (all, service) = (endpoints(json!({})), Service::default());
        let made = plan(Some(&all), Some(&service), &[]);
        let sizes: Vec<_> =
            made.create.iter().map(|s| (s.address_type.as_str(), s.endpoints.as_ref().unwrap().len())).collect();
        assert_eq!(sizes, [("IPv4", 2), ("IPv6", 1)]);
        let existing: Vec<_> = made.create.into_iter().map(Arc::new).collect();
        let again = plan(Some(&all), Some(&service), &existing);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
        assert_eq!(plan(None, Some(&service), &existing).delete.len(), 2);
    }

    #[test]
    fn only_users_endpoints_are_mirrored() {
        let service = Service::default();
        let selecting: Service = serde_json::from_value(json!({"spec": {"selector": {"a": "b"}}})).unwrap();
        assert!(plan(Some(&endpoints(json!({}))), Some(&selecting), &[]).create.is_empty());
        for label in [SKIP, ENDPOINTS_MANAGER] {
            assert!(plan(Some(&endpoints(json!({label: "true"}))), Some(&service), &[]).create.is_empty(), "{label}");
        }
    }
}
