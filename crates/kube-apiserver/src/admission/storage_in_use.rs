//! StorageObjectInUseProtection: volumes and claims stay until the protection controllers say that nothing uses them.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && (attributes.is("", "persistentvolumes") || attributes.is("", "persistentvolumeclaims"))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let finalizer = match attributes.resource.plural.as_str() {
            "persistentvolumes" => "kubernetes.io/pv-protection",
            _ => "kubernetes.io/pvc-protection",
        };
        let mut finalizers = meta::finalizers(object);
        if !finalizers.iter().any(|f| f == finalizer) {
            finalizers.push(finalizer.to_owned());
            meta::set_finalizers(object, &finalizers);
        }
        Ok(())
    }
}
