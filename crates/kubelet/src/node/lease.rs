//! The node's Lease: the heartbeat by which the cluster knows that the node lives.

use crate::agent::Agent;
use api_types::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use component_base::clock;
use kube::api::{Api, PostParams};
use std::sync::Arc;
use std::time::Duration;

const NAMESPACE: &str = "kube-node-lease";
/// After a failed renewal.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(7);

/// Renews until shutdown, four times per duration.
pub(super) async fn run(agent: Arc<Agent>, client: kube::Client) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let period = agent.config.node.lease / 4;
    let mut held: Option<Lease> = None;
    let mut retry = RETRY;
    loop {
        let wait = match renew(&agent, &api, held.take()).await {
            Ok(lease) => {
                held = Some(lease);
                retry = RETRY;
                period
            }
            Err(error) => {
                tracing::warn!(%error, "could not renew the node's lease");
                retry = (retry * 2).min(MAX_RETRY);
                retry.min(period)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn renew(agent: &Agent, api: &Api<Lease>, held: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = agent.config.node.name.as_str();
    let current = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let mut lease = current.clone().unwrap_or_default();
    lease.metadata = ObjectMeta { name: Some(name.into()), namespace: Some(NAMESPACE.into()), ..lease.metadata };
    if let Some(node) = agent.node.object() {
        lease.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.into(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        }]);
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(name.into()),
        lease_duration_seconds: i32::try_from(agent.config.node.lease.as_secs()).ok(),
        renew_time: Some(MicroTime(clock::now())),
        ..lease.spec.unwrap_or_default()
    });
    match current {
        Some(_) => api.replace(name, &PostParams::default(), &lease).await,
        None => api.create(&PostParams::default(), &lease).await,
    }
}
