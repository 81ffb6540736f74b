//! Gives each node its pod CIDRs out of the cluster's (`--allocate-node-cidrs`).

mod cidr;

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::core::v1::Node;
use controller_runtime::{Action, BoxError, EventRecorder, ObjectKey, Outcome, Store, WorkQueue};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use parking_lot::Mutex;

pub(crate) use self::cidr::Cidr;
use crate::{Config, context::Context};

struct Allocator {
    client: Client,
    recorder: EventRecorder,
    nodes: Store<Node>,
    pools: Vec<Pool>,
    /// The service network.
    reserved: Vec<Cidr>,
    /// What was given to nodes but may not show in the store yet.
    given: Mutex<BTreeMap<String, Vec<Cidr>>>,
}

/// A network that node CIDRs are cut from.
struct Pool {
    network: Cidr,
    bits: u8,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    if !context.shared.config.allocate_node_cidrs {
        return Ok(());
    }
    let queue = WorkQueue::new();
    let nodes = context.informer::<Node>();
    nodes.enqueue_to(&queue);
    let allocator = Arc::new(Allocator {
        client: context.client.clone(),
        recorder: context.recorder("cidrAllocator"),
        nodes: nodes.store().clone(),
        pools: pools(&context.shared.config)?,
        reserved: context.shared.config.service_cluster_ip_range.split(',').filter_map(Cidr::parse).collect(),
        given: Mutex::default(),
    });
    // One worker: two could cut the same CIDR.
    context.run(&queue, move |key| allocator.clone().reconcile(key));
    Ok(())
}

fn pools(config: &Config) -> Result<Vec<Pool>, BoxError> {
    let pool = |text: &String| {
        let network = Cidr::parse(text).ok_or_else(|| format!("--cluster-cidr: {text} is no CIDR"))?;
        let bits = if network.is_v4() { config.node_cidr_mask_ipv4 } else { config.node_cidr_mask_ipv6 };
        if bits < network.bits() {
            return Err(format!("--node-cidr-mask-size: /{bits} is larger than the cluster's {text}").into());
        }
        Ok(Pool { network, bits })
    };
    config.cluster_cidrs.iter().map(pool).collect()
}

/// The CIDRs in the order of the pools, cut from what is free; none when a pool is used up.
fn allocate(pools: &[Pool], used: &[Cidr], reserved: &[Cidr]) -> Option<Vec<Cidr>> {
    let free = |cidr: &Cidr| !used.iter().chain(reserved).any(|other| other.overlaps(cidr));
    pools.iter().map(|pool| pool.network.subnets(pool.bits).find(free)).collect()
}

fn cidrs_of(node: &Node) -> Vec<Cidr> {
    let spec = node.spec.as_ref();
    let listed = spec.and_then(|s| s.pod_cidrs.as_ref()).into_iter().flatten();
    let single = spec.and_then(|s| s.pod_cidr.as_ref());
    listed.chain(single).filter_map(|text| Cidr::parse(text)).collect()
}

impl Allocator {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(node) = self.nodes.get(&key) else {
            self.given.lock().remove(&key.name);
            return Ok(Action::Done);
        };
        if !cidrs_of(&node).is_empty() {
            self.given.lock().remove(&key.name);
            return Ok(Action::Done);
        }
        let Some(cidrs) = self.choose(&key.name) else {
            self.recorder.normal(
                node.as_ref(),
                "CIDRNotAvailable",
                format!("Node {} status is now: CIDRNotAvailable", key.name),
            );
            return Err("the cluster's CIDRs are used up".into());
        };
        let texts: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
        let patch = serde_json::json!({
            "metadata": {"uid": node.uid()}, "spec": {"podCIDR": texts.first(), "podCIDRs": texts}
        });
        let api = Api::<Node>::all(self.client.clone());
        match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                tracing::info!(node = %key.name, cidrs = ?texts, "gave a node its pod network");
                Ok(Action::Done)
            }
            Err(error) => {
                self.given.lock().remove(&key.name);
                Err(error.into())
            }
        }
    }

    fn choose(&self, name: &str) -> Option<Vec<Cidr>> {
        let mut given = self.given.lock();
        if let Some(known) = given.get(name) {
            return Some(known.clone());
        }
        let mut used: Vec<_> = self.nodes.list().iter().flat_map(|node| cidrs_of(node)).collect();
        used.extend(given.values().flatten().copied());
        let cidrs = allocate(&self.pools, &used, self.reserved.as_slice())?;
        given.insert(name.to_owned(), cidrs.clone());
        Some(cidrs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_subnet_of_each_family() {
        let cidr = |text: &str| Cidr::parse(text).unwrap();
        let pools = [Pool { network: cidr("10.244.0.0/22"), bits: 24 }, Pool { network: cidr("fd00::/56"), bits: 64 }];
        let texts = |used: &[&str], reserved: &[&str]| {
            let parse = |all: &[&str]| all.iter().map(|t| cidr(t)).collect::<Vec<_>>();
            allocate(&pools, &parse(used), &parse(reserved))
                .map(|c| c.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(texts(&[], &[]).unwrap(), ["10.244.0.0/24", "fd00::/64"]);
        assert_eq!(
            texts(&["10.244.0.0/24", "10.244.2.0/24"], &["fd00::/63"]).unwrap(),
            ["10.244.1.0/24", "fd00:0:0:2::/64"]
        );
        assert_eq!(texts(&["10.244.0.0/16"], &[]), None);
    }
}
