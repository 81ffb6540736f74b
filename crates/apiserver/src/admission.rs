//! Admission: plugins that change or refuse a write after it was authorized and before it is stored.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::{error::Result, model::Resource, user::UserInfo, warnings::Warnings};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As admission reviews name it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// The write that plugins judge.
pub struct Attributes<'a> {
    pub operation: Operation,
    pub resource: &'a Resource,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty on create with a generated name.
    pub name: &'a str,
    pub old: Option<&'a Value>,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    pub warnings: &'a Warnings,
}

impl Attributes<'_> {
    /// Whether this is about the resource itself (no subresource).
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.resource.group == group && self.resource.plural == plural
    }

    /// 403 in the words that upstream's plugins use.
    pub fn forbidden(&self, why: &str) -> crate::error::Error {
        crate::error::Error::forbidden(&self.resource.group, &self.resource.plural, self.name, why)
    }
}

/// One admission plugin. Objects are in the version of the request; null on deletions.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// As `--enable-admission-plugins` names it.
    fn name(&self) -> &'static str;

    /// Whether this plugin wants to see such writes; keeps the others cheap.
    fn wants(&self, attributes: &Attributes<'_>) -> bool;

    async fn mutate(&self, _attributes: &Attributes<'_>, _object: &mut Value) -> Result<()> {
        Ok(())
    }

    async fn validate(&self, _attributes: &Attributes<'_>, _object: &Value) -> Result<()> {
        Ok(())
    }
}

/// The enabled plugins in their order.
#[derive(Clone, Default)]
pub struct AdmissionChain(Vec<Arc<dyn Plugin>>);

impl AdmissionChain {
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        AdmissionChain(plugins)
    }

    pub async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        for plugin in &self.0 {
            if plugin.wants(attributes) {
                plugin.mutate(attributes, object).await?;
            }
        }
        Ok(())
    }

    pub async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        for plugin in &self.0 {
            if plugin.wants(attributes) {
                plugin.validate(attributes, object).await?;
            }
        }
        Ok(())
    }
}
