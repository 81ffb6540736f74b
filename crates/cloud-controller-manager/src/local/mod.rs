//! The cloud of a cluster on one machine: nodes are network namespaces on a bridge.
//!
//! Instances come from a file that whoever made the namespaces keeps. Routes to pods are kernel routes inside the nodes'
//! namespaces. A load balancer is an address of the bridge's subnet that the host routes to a healthy node; the service proxy
//! there does the rest.

mod balancer;
mod config;
mod network;

use std::{path::PathBuf, sync::Arc};

use api_types::k8s_openapi::api::core::v1::{LoadBalancerStatus, Node, NodeAddress, Service};
use async_trait::async_trait;
use cloud_provider::{Cloud, CloudError, InstanceMetadata, Instances, LoadBalancers, Route, Routes};
use controller_runtime::Store;
use tokio_util::sync::CancellationToken;

use balancer::Balancers;
use config::{Instance, LocalConfig};
pub use network::{Ip, Network, NetworkError};

/// The provider.
pub struct Local {
    file: PathBuf,
    network: Arc<dyn Network>,
    balancers: Balancers,
}

impl Local {
    /// The cloud that `file` describes. `services` tell which addresses are taken.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub fn new(file: PathBuf, network: Arc<dyn Network>, services: Store<Service>) -> Result<Self, CloudError> {
        LocalConfig::read(&file)?;
        let balancers = Balancers::new(network.clone(), services);
        Ok(Local { file, network, balancers })
    }

    /// The file as it is now: instances come and go while the process runs.
    fn config(&self) -> Result<LocalConfig, CloudError> {
        LocalConfig::read(&self.file)
    }

    fn find(&self, node: &Node) -> Result<Option<(LocalConfig, Instance)>, CloudError> {
        let config = self.config()?;
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let id = node.spec.as_ref().and_then(|s| s.provider_id.as_deref()).filter(|id| !id.is_empty());
        let found = config.instances.iter().find(|i| match id {
            Some(id) => config.provider_id(i) == id,
            None => i.name == name,
        });
        let found = found.cloned();
        Ok(found.map(|instance| (config, instance)))
    }

    /// Keeps load balancers on healthy nodes until `shutdown`.
    pub async fn watch_over(&self, shutdown: CancellationToken) {
        self.balancers.watch_over(shutdown).await;
    }
}

impl Cloud for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }

    fn routes(&self) -> Option<&dyn Routes> {
        Some(self)
    }

    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        Some(self)
    }
}

#[async_trait]
impl Instances for Local {
    async fn instance(&self, node: &Node) -> Result<Option<InstanceMetadata>, CloudError> {
        let Some((config, instance)) = self.find(node)? else { return Ok(None) };
        let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
        Ok(Some(InstanceMetadata {
            provider_id: config.provider_id(&instance),
            addresses: vec![
                address("InternalIP", instance.address.to_string()),
                address("Hostname", instance.name.clone()),
            ],
            instance_type: instance.instance_type,
            zone: instance.zone,
            region: config.region,
        }))
    }

    /// A namespace that is gone while the file still lists it is a machine that is off.
    async fn is_shut_down(&self, node: &Node) -> Result<bool, CloudError> {
        Ok(self.find(node)?.is_some_and(|(_, instance)| !instance.netns.exists()))
    }
}

/// Instances that run: the others have no routing table.
fn running(config: &LocalConfig) -> impl Iterator<Item = &Instance> {
    config.instances.iter().filter(|i| i.netns.exists())
}

#[async_trait]
impl Routes for Local {
    async fn list(&self) -> Result<Vec<(Route, bool)>, CloudError> {
        let config = self.config()?;
        let mut seen: std::collections::BTreeMap<Route, usize> = std::collections::BTreeMap::new();
        for instance in running(&config) {
            for (destination, via) in self.network.routes(Some(&instance.netns)).await? {
                let node = config
                    .instances
                    .iter()
                    .find(|i| i.address == via)
                    .map_or_else(|| via.to_string(), |i| i.name.clone());
                *seen.entry(Route { node, destination }).or_default() += 1;
            }
        }
        let others = |node: &str| running(&config).filter(|i| i.name != node).count();
        Ok(seen
            .into_iter()
            .map(|(route, count)| (count >= others(&route.node), route))
            .map(|(complete, route)| (route, complete))
            .collect())
    }

    async fn create(&self, route: &Route) -> Result<(), CloudError> {
        let config = self.config()?;
        let Some(target) = config.instances.iter().find(|i| i.name == route.node) else {
            return Err(CloudError::new(format!("no instance is named {}", route.node)));
        };
        for instance in running(&config).filter(|i| i.name != route.node) {
            self.network.replace(Some(&instance.netns), &route.destination, target.address).await?;
        }
        Ok(())
    }

    async fn delete(&self, route: &Route) -> Result<(), CloudError> {
        let config = self.config()?;
        let via = config
            .instances
            .iter()
            .find(|i| i.name == route.node)
            .map(|i| i.address)
            .or_else(|| route.node.parse().ok());
        for instance in running(&config) {
            let there = self.network.routes(Some(&instance.netns)).await?;
            // Only the one that leads to that node: the range may lead to another one by now.
            if there.iter().any(|(destination, to)| *destination == route.destination && Some(*to) == via) {
                self.network.delete(Some(&instance.netns), &route.destination).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LoadBalancers for Local {
    async fn ensure(&self, service: &Service, nodes: &[Arc<Node>]) -> Result<LoadBalancerStatus, CloudError> {
        let config = self.config()?;
        self.balancers.ensure(&config, service, nodes).await
    }

    async fn delete(&self, service: &Service) -> Result<(), CloudError> {
        self.balancers.delete(service).await
    }
}

#[cfg(test)]
mod tests;
