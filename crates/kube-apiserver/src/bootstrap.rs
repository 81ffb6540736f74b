//! Objects that every cluster has from the start.

use anyhow::Result;
use apiserver::{error::Error, registry::Writer, server::Core};
use serde_json::{Value, json};

use crate::config::Config;

/// Creates what is missing; what is there stays as it is.
pub(crate) async fn objects(core: &Core, config: &Config) -> Result<()> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        create(core, "", "v1", "namespaces", json!({ "metadata": { "name": name } })).await?;
    }
    for (name, value, description) in [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        let class = json!({ "metadata": { "name": name }, "value": value, "description": description });
        create(core, "scheduling.k8s.io", "v1", "priorityclasses", class).await?;
    }
    let cidrs: Vec<String> = config.service_ips.iter().map(ToString::to_string).collect();
    let range = json!({ "metadata": { "name": "kubernetes" }, "spec": { "cidrs": cidrs } });
    create(core, "networking.k8s.io", "v1", "servicecidrs", range).await?;
    Ok(())
}

async fn create(core: &Core, group: &str, version: &str, plural: &str, mut object: Value) -> Result<(), Error> {
    let resource = core.catalog.find(group, version, plural).ok_or_else(Error::no_such_path)?;
    resource.format.stamp(&mut object);
    let (mut object, _) = apiserver::codec::decode_value(&resource.format, &object)?;
    resource.format.stamp(&mut object);
    resource.format.strategy.default(&mut object);
    let namespace = apiserver::meta::namespace(&object).to_owned();
    match core.registry.create(&resource, &namespace, object, &Writer::system()).await {
        Err(e) if e.reason != "AlreadyExists" => Err(e),
        _ => Ok(()),
    }
}
