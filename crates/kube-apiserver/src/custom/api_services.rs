//! An `APIService` for each group version of custom resources, so that clients find them beside those of other servers.

use std::collections::BTreeSet;

use apiserver::{
    error::{Error, Result},
    options::DeleteOptions,
    registry::Writer,
    server::Core,
};
use serde_json::{Value, json};

/// Marks those that are kept here; what else is registered for a group version stays as it is.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

/// As upstream ranks custom resources.
fn object(group: &str, version: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name(group, version), "labels": {MANAGED: "true"}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100},
    })
}

/// Creates those that are missing, and deletes those whose group version is served no longer.
pub(super) async fn keep(core: &Core, wanted: &BTreeSet<(String, String)>) -> Result<()> {
    let resource = core.catalog.find("apiregistration.k8s.io", "v1", "apiservices").ok_or_else(Error::no_such_path)?;
    let stored = resource.stored()?;
    let names: BTreeSet<String> = wanted.iter().map(|(group, version)| name(group, version)).collect();
    for entry in stored.cache.list(&apiserver::cache::Scope::default()).0 {
        if entry.selectable.label(MANAGED) != Some("true") || names.contains(entry.name()) {
            continue;
        }
        let options = DeleteOptions::default();
        match core.registry.delete(&resource, "", entry.name(), &options, &Writer::system()).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    for (group, version) in wanted {
        let mut object = object(group, version);
        resource.format.strategy.default(&mut object);
        match core.registry.create(&resource, "", object, &Writer::system()).await {
            Err(error) if error.reason != "AlreadyExists" => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
