//! PersistentVolumeClaimResize: a claim grows only if it is bound and its class can grow volumes.

use api_types::Quantity;
use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

pub(super) struct ClaimResize(pub(super) CoreCell);

#[async_trait]
impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is("", "persistentvolumeclaims")
    }

    async fn validate(&self, attributes: &Attributes<'_>, claim: &Value) -> Result<()> {
        let Some(old) = attributes.old else { return Ok(()) };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if meta::path_text(old, "status.phase") != "Bound" {
            return Err(attributes.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let name = meta::path_text(claim, "spec.storageClassName");
        let class = self.0.find("storage.k8s.io", "storageclasses", "", &name).await?;
        if class.is_some_and(|c| c.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true)) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(attributes.forbidden(why))
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
    text.and_then(|t| t.parse().ok()).unwrap_or_default()
}
