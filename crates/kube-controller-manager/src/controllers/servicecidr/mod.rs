//! Keeps ServiceCIDRs ready and, when one is deleted, there until no Service has an address that only it covers.

use std::{net::IpAddr, sync::Arc};

use api_types::k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::nodeipam::Cidr;
use crate::context::Context;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

struct Ranges {
    client: Client,
    ranges: Store<ServiceCIDR>,
    addresses: Store<IPAddress>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let ranges = context.informer::<ServiceCIDR>();
    let addresses = context.informer::<IPAddress>();
    let (all, on_range) = (ranges.store().clone(), queue.clone());
    // Each depends on which others cover the same addresses.
    ranges.on_event(move |_| all.keys().into_iter().for_each(|key| on_range.add(key)));
    let (all, on_address) = (ranges.store().clone(), queue.clone());
    addresses.on_event(move |event| {
        if event.is_deleted() {
            all.keys().into_iter().for_each(|key| on_address.add(key));
        }
    });
    let controller = Arc::new(Ranges {
        client: context.client.clone(),
        ranges: ranges.store().clone(),
        addresses: addresses.store().clone(),
    });
    context.run(&queue, move |key| controller.clone().reconcile(key));
    Ok(())
}

fn networks(range: &ServiceCIDR) -> Vec<Cidr> {
    range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|text| Cidr::parse(text)).collect()
}

/// Whether a range that is being deleted still holds an address that no other range covers.
fn is_needed(range: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[String]) -> bool {
    let covers = |range: &ServiceCIDR, ip: &Cidr| networks(range).iter().any(|network| network.overlaps(ip));
    let other = |other: &&Arc<ServiceCIDR>| {
        other.metadata.uid != range.metadata.uid && other.metadata.deletion_timestamp.is_none()
    };
    addresses
        .iter()
        .filter_map(|text| host(text))
        .any(|ip| covers(range, &ip) && !others.iter().filter(other).any(|other| covers(other, &ip)))
}

fn host(text: &str) -> Option<Cidr> {
    let bits = if text.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
    Cidr::parse(&format!("{text}/{bits}"))
}

fn condition(ready: bool, now: Timestamp) -> Condition {
    let (status, reason, message) = if ready {
        ("True", "", "Kubernetes Service CIDR is ready")
    } else {
        (
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        )
    };
    Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: None,
    }
}

impl Ranges {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(range) = self.ranges.get(&key) else { return Ok(Action::Done) };
        let has = range.finalizers().iter().any(|f| f == FINALIZER);
        if range.metadata.deletion_timestamp.is_none() {
            if !has {
                let mut all = range.finalizers().to_vec();
                all.push(FINALIZER.to_owned());
                self.patch(&key, json!({"metadata": {"finalizers": all, "resourceVersion": range.resource_version()}}))
                    .await?;
            }
            return self.set(&key, &range, true).await;
        }
        if !has {
            return Ok(Action::Done);
        }
        let addresses: Vec<_> = self.addresses.list().iter().map(|address| address.name_any()).collect();
        if is_needed(&range, &self.ranges.list(), &addresses) {
            return self.set(&key, &range, false).await;
        }
        let left: Vec<_> = range.finalizers().iter().filter(|f| *f != FINALIZER).collect();
        self.patch(&key, json!({"metadata": {"finalizers": left, "resourceVersion": range.resource_version()}}))
            .await?;
        Ok(Action::Done)
    }

    async fn patch(&self, key: &ObjectKey, patch: serde_json::Value) -> Result<(), kube::Error> {
        let api = Api::<ServiceCIDR>::all(self.client.clone());
        match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    async fn set(&self, key: &ObjectKey, range: &ServiceCIDR, ready: bool) -> Outcome {
        let wanted = condition(ready, component_base::clock::now());
        let conditions = range.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let mut others = Vec::new();
        for known in conditions {
            if known.type_ == READY && known.status == wanted.status {
                return Ok(Action::Done);
            }
            others.extend((known.type_ != READY).then(|| known.clone()));
        }
        others.push(wanted);
        let patch = json!({"status": {"conditions": others}});
        let api = Api::<ServiceCIDR>::all(self.client.clone());
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, cidr: &str) -> Arc<ServiceCIDR> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"cidrs": [cidr]}}))
                .unwrap(),
        )
    }

    #[test]
    fn a_range_is_needed_by_addresses_that_only_it_covers() {
        let (wide, narrow) = (range("wide", "10.0.0.0/16"), range("narrow", "10.0.1.0/24"));
        let all = [wide.clone(), narrow.clone()];
        let addresses = |ip: &str| [ip.to_owned()];
        assert!(is_needed(&wide, &all, &addresses("10.0.2.1")));
        assert!(!is_needed(&wide, &all, &addresses("10.0.1.1")));
        assert!(!is_needed(&narrow, &all, &addresses("10.0.2.1")));
        assert!(!is_needed(&narrow, &all, &addresses("fd00::1")));
    }
}
