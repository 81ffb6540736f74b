//! RuntimeClass: the overhead and the nodes of a pod's runtime.

use std::sync::Arc;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

pub(super) struct RuntimeClass(pub(super) CoreCell);

impl RuntimeClass {
    async fn class_of(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<Option<Arc<Value>>> {
        let name = meta::path_text(pod, "spec.runtimeClassName");
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.0.find("node.k8s.io", "runtimeclasses", "", &name).await?;
        let missing = || attributes.forbidden(&format!("pod rejected: RuntimeClass \"{name}\" not found"));
        found.map(Some).ok_or_else(missing)
    }
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "pods") && attributes.operation == Operation::Create
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let Some(class) = self.class_of(attributes, pod).await? else { return Ok(()) };
        if let Some(overhead) = class.pointer("/overhead/podFixed") {
            let given = pod.pointer("/spec/overhead").filter(|o| o.as_object().is_some_and(|o| !o.is_empty()));
            if given.is_some_and(|given| given != overhead) {
                let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
                return Err(attributes.forbidden(why));
            }
            meta::map_mut(pod, "spec").insert("overhead".to_owned(), overhead.clone());
        }
        let Some(scheduling) = class.get("scheduling") else { return Ok(()) };
        meta::map_mut(pod, "spec");
        let selector = scheduling.get("nodeSelector").and_then(Value::as_object);
        for (key, value) in selector.into_iter().flatten() {
            let own = meta::map_mut(&mut pod["spec"], "nodeSelector");
            if let Some(other) = own.get(key).filter(|other| *other != value) {
                let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(other)
                );
                return Err(attributes.forbidden(&why));
            }
            own.insert(key.clone(), value.clone());
        }
        let mut tolerations = pod.pointer("/spec/tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
        let more = scheduling.get("tolerations").and_then(Value::as_array).into_iter().flatten();
        let before = tolerations.len();
        for toleration in more {
            if !tolerations.contains(toleration) {
                tolerations.push(toleration.clone());
            }
        }
        if tolerations.len() > before {
            meta::map_mut(pod, "spec").insert("tolerations".to_owned(), tolerations.into());
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let class = self.class_of(attributes, pod).await?;
        let overhead = pod.pointer("/spec/overhead").and_then(Value::as_object).is_some_and(|o| !o.is_empty());
        let defined = class.as_ref().is_some_and(|c| c.pointer("/overhead/podFixed").is_some());
        if overhead && !defined {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(attributes.forbidden(why));
        }
        Ok(())
    }
}
