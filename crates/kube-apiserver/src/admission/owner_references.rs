//! OwnerReferencesPermissionEnforcement: who makes an object depend on another could have it deleted, so needs the right to.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    authz::{self, Verdict},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

pub(super) struct OwnerReferences(pub(super) CoreCell);

fn owners(object: Option<&Value>) -> Vec<Value> {
    let list = object.and_then(|o| meta::get(o, "ownerReferences")).and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// The references that block their owner's deletion and did not before.
fn newly_blocking(new: &[Value], old: &[Value]) -> Vec<Value> {
    let blocks = |r: &&Value| r["blockOwnerDeletion"] == true;
    let blocked = |r: &&Value| old.iter().any(|o| o["uid"] == r["uid"] && blocks(&o));
    new.iter().filter(|r| blocks(r) && !blocked(r)).cloned().collect()
}

impl OwnerReferences {
    async fn may(&self, asked: authz::Attributes) -> Result<Option<String>> {
        let decision = self.0.core()?.authorizer.authorize(&asked).await;
        Ok((decision.verdict != Verdict::Allow).then_some(decision.reason))
    }

    /// Deleting an owner; blocking its deletion is changing its finalizers.
    async fn check_owner(&self, attributes: &Attributes<'_>, reference: &Value) -> Result<()> {
        let text = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
        let version = text("apiVersion");
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let Some(owner) = self.0.core()?.catalog.find_kind(group, version, &text("kind")) else {
            let shown = text("apiVersion");
            return Err(attributes.forbidden(&format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {shown} Kind {}: no matches for kind",
                text("kind")
            )));
        };
        let asked = authz::Attributes {
            user: attributes.user.clone(),
            verb: "update".to_owned(),
            namespace: if owner.namespaced { attributes.namespace.to_owned() } else { String::new() },
            group: group.to_owned(),
            version: version.to_owned(),
            resource: owner.plural.clone(),
            subresource: "finalizers".to_owned(),
            name: text("name"),
            is_resource: true,
            ..authz::Attributes::default()
        };
        match self.may(asked).await? {
            None => Ok(()),
            Some(reason) => Err(attributes.forbidden(&format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {reason}, <nil>"
            ))),
        }
    }
}

#[async_trait]
impl Plugin for OwnerReferences {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let pod_status = attributes.resource.plural == "pods" && attributes.subresource == "status";
        !pod_status && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let (new, old) = (owners(Some(object)), owners(attributes.old));
        if new == old {
            return Ok(());
        }
        let resource = attributes.resource;
        // A right to delete all of a kind is asked for where the object has no name yet.
        let name = if attributes.operation == Operation::Create { "" } else { attributes.name };
        let asked = authz::Attributes {
            user: attributes.user.clone(),
            verb: "delete".to_owned(),
            namespace: attributes.namespace.to_owned(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
            name: name.to_owned(),
            is_resource: true,
            ..authz::Attributes::default()
        };
        if let Some(reason) = self.may(asked).await? {
            let why = format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>");
            return Err(attributes.forbidden(&why));
        }
        for reference in newly_blocking(&new, &old) {
            self.check_owner(attributes, &reference).await?;
        }
        Ok(())
    }
}
