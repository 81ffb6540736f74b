//! NamespaceAutoProvision and NamespaceExists: what becomes of writes in a namespace that is not there.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    registry::Writer,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::cell::CoreCell;

/// Makes the namespace.
pub(super) struct NamespaceAutoProvision(pub(super) CoreCell);

#[async_trait]
impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.resource.namespaced && !attributes.dry_run
    }

    async fn mutate(&self, attributes: &Attributes<'_>, _: &mut Value) -> Result<()> {
        let name = attributes.namespace;
        if self.0.find("", "namespaces", "", name).await?.is_some() {
            return Ok(());
        }
        let resource = self.0.resource("", "namespaces")?;
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        resource.format.strategy.default(&mut namespace);
        match self.0.core()?.registry.create(&resource, "", namespace, &Writer::system()).await {
            Err(error) if error.reason == "AlreadyExists" => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// Refuses the write.
pub(super) struct NamespaceExists(pub(super) CoreCell);

#[async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.resource.namespaced
    }

    async fn validate(&self, attributes: &Attributes<'_>, _: &Value) -> Result<()> {
        let name = attributes.namespace;
        let found = self.0.find("", "namespaces", "", name).await?;
        found.map(|_| ()).ok_or_else(|| Error::not_found("", "namespaces", name))
    }
}
