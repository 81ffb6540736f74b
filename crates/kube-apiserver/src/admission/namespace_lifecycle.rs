//! NamespaceLifecycle: nothing is created in a namespace that is not there or is going away, and some namespaces stay.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

/// Namespaces that can't be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle(pub(super) CoreCell);

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let deletes_namespace = attributes.operation == Operation::Delete && attributes.is("", "namespaces");
        deletes_namespace || (attributes.operation == Operation::Create && attributes.resource.namespaced)
    }

    async fn validate(&self, attributes: &Attributes<'_>, _object: &Value) -> Result<()> {
        if attributes.operation == Operation::Delete {
            return if IMMORTAL.contains(&attributes.name) {
                Err(attributes.forbidden("this namespace may not be deleted"))
            } else {
                Ok(())
            };
        }
        Ok(())
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let review = attributes.resource.plural == "localsubjectaccessreviews";
        if attributes.operation != Operation::Create || review {
            return Ok(());
        }
        let name = attributes.namespace;
        let found = self.0.find("", "namespaces", "", name).await?;
        let namespace = found.ok_or_else(|| Error::not_found("", "namespaces", name))?;
        let terminating =
            meta::path_text(&namespace, "status.phase") == "Terminating" || meta::is_terminating(&namespace);
        if !terminating {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let own_name = meta::name(object);
        let mut error = Error::forbidden(&attributes.resource.group, &attributes.resource.plural, own_name, &why);
        error.details_mut().causes.push(api_types::Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
        Err(error)
    }
}
