//! Priority: the number and preemption policy behind a pod's priority class.

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

const CLASSES: (&str, &str) = ("scheduling.k8s.io", "priorityclasses");

pub(super) struct Priority(pub(super) CoreCell);

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        writes && (attributes.is("", "pods") || attributes.is(CLASSES.0, CLASSES.1))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        if attributes.resource.plural != "pods" {
            return Ok(());
        }
        if let Some(old) = attributes.old {
            let spec = meta::map_mut(pod, "spec");
            for field in ["priority", "preemptionPolicy"] {
                let value = old.get("spec").and_then(|s| s.get(field));
                if let (None, Some(value)) = (spec.get(field), value) {
                    spec.insert(field.to_owned(), value.clone());
                }
            }
            return Ok(());
        }
        let named = meta::path_text(pod, "spec.priorityClassName");
        let class = if named.is_empty() { self.default_class()? } else { Some(self.class(attributes, &named).await?) };
        let given = pod.pointer("/spec/priority").and_then(Value::as_i64);
        let value = class.as_ref().and_then(|c| c.get("value")).and_then(Value::as_i64).unwrap_or(0);
        if given.is_some_and(|given| given != value) {
            let why = "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name";
            let why = why.replacen("{}", &given.unwrap_or(0).to_string(), 1).replacen("{}", &value.to_string(), 1);
            return Err(attributes.forbidden(&why));
        }
        let policy = class.as_ref().and_then(|c| c.get("preemptionPolicy")).cloned();
        let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
        let given = pod.pointer("/spec/preemptionPolicy").cloned();
        if given.is_some_and(|given| given != policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
                meta::path_text(pod, "spec.preemptionPolicy"),
                policy.as_str().unwrap_or_default()
            );
            return Err(attributes.forbidden(&why));
        }
        let spec = meta::map_mut(pod, "spec");
        if let (true, Some(class)) = (named.is_empty(), &class) {
            spec.insert("priorityClassName".to_owned(), meta::name(class).into());
        }
        spec.insert("priority".to_owned(), value.into());
        spec.insert("preemptionPolicy".to_owned(), policy);
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, class: &Value) -> Result<()> {
        let global = |c: &Value| c.get("globalDefault").and_then(Value::as_bool) == Some(true);
        if attributes.resource.plural == "pods" || !global(class) {
            return Ok(());
        }
        match self.default_class()? {
            Some(other) if meta::name(&other) != meta::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&other)
                );
                Err(attributes.forbidden(&why))
            }
            _ => Ok(()),
        }
    }
}

impl Priority {
    async fn class(&self, attributes: &Attributes<'_>, name: &str) -> Result<Arc<Value>> {
        let found = self.0.find(CLASSES.0, CLASSES.1, "", name).await?;
        found.ok_or_else(|| {
            let why = format!("no PriorityClass with name {name} was found");
            attributes.forbidden(&why)
        })
    }

    /// The class of pods that name none; of several the lowest.
    fn default_class(&self) -> Result<Option<Arc<Value>>> {
        let classes = self.0.list(CLASSES.0, CLASSES.1, "")?.into_iter();
        let defaults = classes.filter(|c| c.get("globalDefault").and_then(Value::as_bool) == Some(true));
        Ok(defaults.min_by_key(|c| c.get("value").and_then(Value::as_i64)))
    }
}
