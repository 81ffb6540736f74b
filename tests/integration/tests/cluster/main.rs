//! What a whole cluster does, in seconds of real time and repeatably.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod access;
mod aggregation;
mod autoscaling;
mod devices;
mod life;
mod nodes;
mod protection;
mod services;
mod stateful;

use std::time::Duration;

use api_types::k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use testkit::{Cluster, Options, simulate};

/// For what needs a few rounds of controllers.
const MINUTE: Duration = Duration::from_secs(60);

/// Runs `test` on a cluster with so many nodes, in simulated time; the seed makes it repeatable.
fn on_cluster(seed: u64, nodes: usize, test: impl AsyncFnOnce(&Cluster) + Send + 'static) {
    simulate(seed, move || async move {
        let cluster = Cluster::start(Options { nodes, ..Options::default() }).await.unwrap();
        test(&cluster).await;
        cluster.stop().await;
    });
}

/// The objects of a kind in the namespace `default`.
fn in_default<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(client: &Client) -> Api<K> {
    Api::namespaced(client.clone(), "default")
}
