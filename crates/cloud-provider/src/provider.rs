//! What a provider implements.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, NodeAddress, Service};
use async_trait::async_trait;

/// What went wrong in the cloud, in the provider's words.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CloudError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl CloudError {
    /// An error in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        CloudError { message: message.into(), source: None }
    }

    /// An error with its cause.
    #[must_use]
    pub fn with(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        CloudError { message: message.into(), source: Some(source.into()) }
    }
}

/// A cloud: what it has none of, its loops do not run for.
pub trait Cloud: Send + Sync {
    /// Its name, as `--cloud-provider` has it.
    fn name(&self) -> &'static str;
    /// The machines behind nodes.
    fn instances(&self) -> Option<&dyn Instances>;
    /// Routes between nodes' pod ranges.
    fn routes(&self) -> Option<&dyn Routes>;
    /// Load balancers.
    fn load_balancers(&self) -> Option<&dyn LoadBalancers>;
}

/// What the cloud knows of a node's machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceMetadata {
    /// `spec.providerID`.
    pub provider_id: String,
    /// The label `node.kubernetes.io/instance-type`.
    pub instance_type: String,
    /// `status.addresses`.
    pub addresses: Vec<NodeAddress>,
    /// The label `topology.kubernetes.io/zone`.
    pub zone: String,
    /// The label `topology.kubernetes.io/region`.
    pub region: String,
}

/// The machines behind nodes.
#[async_trait]
pub trait Instances: Send + Sync {
    /// The node's machine, by its provider ID or, as long as it has none, by its name; none where it no longer exists.
    async fn instance(&self, node: &Node) -> Result<Option<InstanceMetadata>, CloudError>;
    /// Whether the node's machine exists, but is shut down.
    async fn is_shut_down(&self, node: &Node) -> Result<bool, CloudError>;
}

/// A route to a node's pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The node it leads to.
    pub node: String,
    /// The pods' range.
    pub destination: String,
}

/// Routes between nodes' pod ranges.
#[async_trait]
pub trait Routes: Send + Sync {
    /// The routes that are there; with each, whether it is there for all who need it.
    async fn list(&self) -> Result<Vec<(Route, bool)>, CloudError>;
    /// Makes a route, or completes it.
    async fn create(&self, route: &Route) -> Result<(), CloudError>;
    /// Removes a route.
    async fn delete(&self, route: &Route) -> Result<(), CloudError>;
}

/// Load balancers.
#[async_trait]
pub trait LoadBalancers: Send + Sync {
    /// Makes the service's load balancer as the service and the nodes are now. Repeating it changes nothing.
    async fn ensure(&self, service: &Service, nodes: &[Arc<Node>]) -> Result<LoadBalancerStatus, CloudError>;
    /// Removes it; that there is none is no error.
    async fn delete(&self, service: &Service) -> Result<(), CloudError>;
}
