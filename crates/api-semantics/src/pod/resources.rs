//! Sums over a pod's containers.

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// The pod-level requests that follow from `limits` and the containers: for each resource limited at pod level, what the
/// containers request together, or the limit itself when some container says nothing.
pub(crate) fn sum_of_requests(spec: &Value, limits: &Map<String, Value>) -> Map<String, Value> {
    let mut out = limits.clone();
    for (name, value) in &mut out {
        if let Some(sum) = containers_sum(spec, name) {
            *value = Value::String(sum.to_string());
        }
    }
    out
}

/// `None` when no container requests the resource.
fn containers_sum(spec: &Value, name: &str) -> Option<Quantity> {
    let containers = spec.get("containers").and_then(Value::as_array)?;
    let requests = containers.iter().filter_map(|c| c.get("resources")?.get("requests")?.get(name));
    requests.filter_map(crate::quantity::of).reduce(|a, b| a + b)
}
