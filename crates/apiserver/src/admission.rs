//! Admission: plugins that change or refuse a write after it was authorized and before it is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
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
    /// What the name will be made from, on create.
    pub generate_name: &'a str,
    pub old: Option<&'a Value>,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    pub warnings: &'a Warnings,
    /// Group, version and kind of the object where they are not the resource's: a `TokenRequest`, the `PodExecOptions` of a connection.
    pub kind: Option<[&'a str; 3]>,
    /// Where plugins that change objects together keep what they need to be run again.
    pub reinvocation: Reinvocation,
}

/// Plugins that change objects at the users' bidding (policies, webhooks) are run once more when a change that came after
/// them may concern them.
#[derive(Debug, Default)]
pub struct Reinvocation(Mutex<Rounds>);

#[derive(Debug, Default)]
struct Rounds {
    /// Whether this is the second round.
    again: bool,
    /// Whether there has to be a second round.
    needed: bool,
    plugins: BTreeMap<&'static str, Invocations>,
}

/// What one plugin ran, by keys of its own.
#[derive(Debug, Default)]
struct Invocations {
    /// The object as the plugin left it.
    output: Option<Value>,
    /// What ran, and may run again.
    ran: BTreeSet<String>,
    /// What the second round runs.
    due: BTreeSet<String>,
}

impl Invocations {
    fn require_all(&mut self) {
        self.due.append(&mut self.ran);
    }
}

impl Reinvocation {
    /// Called when a plugin starts on an object.
    pub fn begin(&self, plugin: &'static str, object: &Value) {
        let rounds = &mut *self.0.lock();
        let state = rounds.plugins.entry(plugin).or_default();
        if rounds.again && state.output.as_ref() != Some(object) {
            state.require_all();
        }
    }

    /// Whether an invocation is to run in this round.
    pub fn is_due(&self, plugin: &'static str, key: &str) -> bool {
        let rounds = self.0.lock();
        !rounds.again || rounds.plugins.get(plugin).is_some_and(|state| state.due.contains(key))
    }

    /// An invocation ran; whether it changed the object, and whether it wants to see later changes.
    pub fn ran(&self, plugin: &'static str, key: &str, changed: bool, wants_more: bool) {
        let rounds = &mut *self.0.lock();
        let state = rounds.plugins.entry(plugin).or_default();
        if changed {
            state.require_all();
            rounds.needed = true;
        }
        if wants_more {
            state.ran.insert(key.to_owned());
        }
    }

    /// Called when a plugin is done with an object.
    pub fn end(&self, plugin: &'static str, object: &Value) {
        self.0.lock().plugins.entry(plugin).or_default().output = Some(object.clone());
    }

    /// Starts the second round, if there has to be one.
    fn go_again(&self) -> bool {
        let rounds = &mut *self.0.lock();
        rounds.again = true;
        rounds.needed
    }
}

impl Attributes<'_> {
    /// Whether this is about the resource itself (no subresource).
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.resource.group == group && self.resource.plural == plural
    }

    /// 403 in the words that upstream's plugins use.
    pub fn forbidden(&self, why: &str) -> crate::error::Error {
        let name = match (self.name, self.generate_name) {
            ("", "") if self.operation == Operation::Create => "Unknown",
            ("", base) => base,
            (name, _) => name,
        };
        crate::error::Error::forbidden(&self.resource.group, &self.resource.plural, name, why)
    }
}

/// One admission plugin. Objects are in the version of the request; null on deletions.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// As `--enable-admission-plugins` names it.
    fn name(&self) -> &'static str;

    /// Whether this plugin wants to see such writes; keeps the others cheap.
    fn wants(&self, attributes: &Attributes<'_>) -> bool;

    /// Whether it judges connections too.
    fn connects(&self) -> bool {
        false
    }

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
        self.round(attributes, object).await?;
        if attributes.reinvocation.go_again() {
            self.round(attributes, object).await?;
        }
        Ok(())
    }

    async fn round(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
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

    /// Judges a connection (exec, attach, port-forward, proxies) by its options, before it is made. Plugins can't change them.
    pub async fn connect(&self, attributes: &Attributes<'_>, options: &Value) -> Result<()> {
        let mut seen = options.clone();
        let concerned = || self.0.iter().filter(|plugin| plugin.connects() && plugin.wants(attributes));
        for plugin in concerned() {
            plugin.mutate(attributes, &mut seen).await?;
        }
        for plugin in concerned() {
            plugin.validate(attributes, options).await?;
        }
        Ok(())
    }
}
