//! ResourceQuota: what is created in a namespace fits in its quotas, and is charged to them before it is stored.
//!
//! Charging is a compare-and-swap on the quota's status: two creations can't both take the last of it. A creation that fails
//! later leaves its charge behind; the quota controller counts again.

mod usage;

use std::sync::Arc;

use api_semantics::Part;
use api_types::Quantity;
use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    meta,
    registry::{Change, Create, Writer},
};
use async_trait::async_trait;
use serde_json::Value;

use super::amounts::{self, Amounts};
use super::configuration::LimitedResource;
use crate::cell::CoreCell;

pub(super) struct ResourceQuota {
    pub(super) cell: CoreCell,
    /// What is used only where a quota allows it.
    pub(super) limited: Vec<LimitedResource>,
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        if !attributes.resource.namespaced {
            return false;
        }
        match attributes.operation {
            Operation::Create => attributes.subresource.is_empty(),
            Operation::Update => {
                attributes.is("", "services")
                    || attributes.is("", "persistentvolumeclaims")
                    || (attributes.resource.plural == "pods" && attributes.subresource == "resize")
            }
            _ => false,
        }
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let quotas = self.cell.list("", "resourcequotas", attributes.namespace)?;
        self.check_limited(attributes, object, &quotas)?;
        let mut charges = Vec::new();
        for quota in &quotas {
            if !usage::in_scope(quota, attributes.resource, object) {
                continue;
            }
            let limited = amounts::read(quota.pointer("/spec/hard"));
            let delta = delta(attributes, object, &limited);
            if attributes.operation == Operation::Create {
                let missing = usage::missing(attributes.resource, object, &limited);
                if !missing.is_empty() {
                    let why = format!("failed quota: {}: must specify {}", meta::name(quota), missing.join("; "));
                    return Err(attributes.forbidden(&why));
                }
            }
            if !delta.is_empty() {
                charged(attributes, quota, &delta)?;
                charges.push((quota, delta));
            }
        }
        for (quota, delta) in charges.into_iter().filter(|_| !attributes.dry_run) {
            self.charge(attributes, quota, &delta).await?;
        }
        Ok(())
    }
}

impl ResourceQuota {
    /// What is limited by configuration has to be covered by a quota.
    fn check_limited(&self, attributes: &Attributes<'_>, object: &Value, quotas: &[Arc<Value>]) -> Result<()> {
        let resource = attributes.resource;
        let here = self.limited.iter().filter(|l| l.api_group == resource.group && l.resource == resource.plural);
        let parts: Vec<&String> = here.flat_map(|l| &l.match_contains).collect();
        if parts.is_empty() || attributes.operation != Operation::Create {
            return Ok(());
        }
        let covering = quotas.iter().filter(|quota| usage::in_scope(quota, resource, object));
        let covered: Vec<String> = covering.flat_map(|q| amounts::read(q.pointer("/spec/hard")).into_keys()).collect();
        let used = usage::of(resource, object).into_keys();
        let limited = used.filter(|name| parts.iter().any(|part| name.contains(part.as_str())));
        let bare: Vec<String> = limited.filter(|name| !covered.contains(name)).collect();
        if bare.is_empty() {
            return Ok(());
        }
        Err(attributes.forbidden(&format!("insufficient quota to consume: {}", bare.join(","))))
    }

    async fn charge(&self, attributes: &Attributes<'_>, quota: &Value, delta: &Amounts) -> Result<()> {
        let resource = self.cell.resource("", "resourcequotas")?;
        let change = Change {
            part: Part::Status,
            subresource: "status",
            make: Box::new(|quota| {
                let quota = quota.ok_or_else(|| Error::not_found("", "resourcequotas", ""))?;
                charged(attributes, quota, delta)
            }),
            keeps_owners: true,
            create: Create::Never,
        };
        let (namespace, name) = (meta::namespace(quota), meta::name(quota));
        match self.cell.core()?.registry.update(&resource, namespace, name, &change, &Writer::system()).await {
            // A quota that went away limits nothing.
            Err(e) if e.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

/// What this write adds to each of the limited names.
fn delta(attributes: &Attributes<'_>, object: &Value, limited: &Amounts) -> Amounts {
    let mut usage = usage::of(attributes.resource, object);
    if attributes.operation == Operation::Update
        && let Some(old) = attributes.old
    {
        for (name, amount) in usage::of(attributes.resource, old) {
            *usage.entry(name).or_default() -= amount;
        }
    }
    usage.retain(|name, amount| limited.contains_key(name) && !amount.is_zero());
    usage
}

/// The quota after the charge; or 403.
fn charged(attributes: &Attributes<'_>, quota: &Value, delta: &Amounts) -> Result<Value> {
    let name = meta::name(quota);
    let (hard, used) = (amounts::read(quota.pointer("/status/hard")), amounts::read(quota.pointer("/status/used")));
    let unknown: Vec<&str> = delta.keys().filter(|n| !used.contains_key(*n)).map(String::as_str).collect();
    if !unknown.is_empty() {
        let why = format!("status unknown for quota: {name}, resources: {}", unknown.join(","));
        return Err(attributes.forbidden(&why));
    }
    let mut exceeded = Vec::new();
    let mut charged = quota.clone();
    for (resource, amount) in delta {
        let then = used.get(resource).copied().unwrap_or_default() + *amount;
        // Giving back is always fine, even above the limit.
        if !amount.is_negative() && hard.get(resource).is_some_and(|hard| then > *hard) {
            exceeded.push(resource);
        }
        meta::map_mut(&mut charged, "status");
        meta::map_mut(&mut charged["status"], "used").insert(resource.clone(), then.to_string().into());
    }
    if exceeded.is_empty() {
        return Ok(charged);
    }
    let show = |amounts: &Amounts| {
        let none = Quantity::default();
        let texts = exceeded.iter().map(|name| format!("{name}={}", amounts.get(*name).unwrap_or(&none)));
        texts.collect::<Vec<_>>().join(",")
    };
    let why =
        format!("exceeded quota: {name}, requested: {}, used: {}, limited: {}", show(delta), show(&used), show(&hard));
    Err(attributes.forbidden(&why))
}
