//! TaintNodesByCondition: a new node takes no pods until the node controller has seen it ready.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "nodes") && attributes.operation == Operation::Create
    }

    async fn mutate(&self, _: &Attributes<'_>, node: &mut Value) -> Result<()> {
        let spec = meta::map_mut(node, "spec");
        let mut taints = spec.get("taints").and_then(Value::as_array).cloned().unwrap_or_default();
        let there =
            |t: &Value| t.get("key") == Some(&NOT_READY.into()) && t.get("effect") == Some(&"NoSchedule".into());
        if !taints.iter().any(there) {
            taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
            spec.insert("taints".to_owned(), taints.into());
        }
        Ok(())
    }
}
