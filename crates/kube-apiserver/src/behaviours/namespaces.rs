//! A namespace stays until its `spec.finalizers` are gone: the namespace controller empties it first.

use apiserver::{meta, model::Behaviour};
use serde_json::Value;

pub(super) struct Namespaces;

impl Behaviour for Namespaces {
    fn is_held(&self, namespace: &Value) -> bool {
        let finalizers = namespace.get("spec").and_then(|s| s.get("finalizers")).and_then(Value::as_array);
        finalizers.is_some_and(|f| !f.is_empty())
    }

    fn mark_terminating(&self, namespace: &mut Value, _before: &Value) {
        meta::set(namespace, "deletionGracePeriodSeconds", Value::Null);
        meta::map_mut(namespace, "status").insert("phase".to_owned(), "Terminating".into());
    }
}
