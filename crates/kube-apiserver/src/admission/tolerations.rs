//! DefaultTolerationSeconds: pods stay for a while on a node that is not ready or unreachable.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::config::Config;

pub(super) struct DefaultTolerationSeconds([(&'static str, i64); 2]);

impl DefaultTolerationSeconds {
    pub(super) fn new(config: &Config) -> Self {
        DefaultTolerationSeconds([
            ("node.kubernetes.io/not-ready", config.not_ready_seconds),
            ("node.kubernetes.io/unreachable", config.unreachable_seconds),
        ])
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "pods") && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(&self, _: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let spec = meta::map_mut(pod, "spec");
        let tolerations = spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
        let tolerates = |key: &str| {
            tolerations.iter().any(|t| {
                let text = |field: &str| t.get(field).and_then(Value::as_str).unwrap_or_default();
                let key_fits = text("key") == key || text("key").is_empty();
                key_fits && matches!(text("effect"), "NoExecute" | "")
            })
        };
        let missing: Vec<Value> = self
            .0
            .iter()
            .filter(|(key, _)| !tolerates(key))
            .map(|(key, seconds)| json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }))
            .collect();
        if !missing.is_empty() {
            spec.insert("tolerations".to_owned(), [tolerations, missing].concat().into());
        }
        Ok(())
    }
}
