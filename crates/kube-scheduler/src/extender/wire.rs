//! What goes to and comes from an extender: the JSON of upstream's `extender/v1`. Its Go types carry no tags, so names are
//! written in upper camel case and read in any case.

use std::collections::BTreeMap;

use api_types::k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::cache::{NodeInfo, PodInfo};

/// The answer to a question about nodes: those that are left, and why the others are not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filtered {
    /// The names of the nodes that are left.
    pub(super) nodes: Vec<String>,
    pub(super) failed: BTreeMap<String, String>,
    pub(super) unresolvable: BTreeMap<String, String>,
}

/// Who would have to go from a node, by UID.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Victims {
    pub(super) pods: Vec<String>,
    pub(super) violations: usize,
}

/// `ExtenderArgs`.
pub(super) fn args(pod: &Pod, nodes: &[&NodeInfo], names_only: bool) -> Value {
    if names_only {
        let names: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
        return json!({"Pod": pod, "Nodes": null, "NodeNames": names});
    }
    let items: Vec<_> = nodes.iter().map(|node| &*node.node).collect();
    json!({"Pod": pod, "Nodes": {"metadata": {}, "items": items}, "NodeNames": null})
}

/// `ExtenderPreemptionArgs`.
pub(super) fn preemption_args(
    pod: &Pod,
    candidates: &[(&str, &[std::sync::Arc<PodInfo>], usize)],
    uids_only: bool,
) -> Value {
    let victims = |(node, pods, violations): &(&str, &[std::sync::Arc<PodInfo>], usize)| {
        let pods: Vec<Value> =
            pods.iter().map(|p| if uids_only { json!({"UID": &*p.uid}) } else { json!(&*p.pod) }).collect();
        ((*node).to_owned(), json!({"Pods": pods, "NumPDBViolations": violations}))
    };
    let victims: Value = candidates.iter().map(victims).collect::<serde_json::Map<_, _>>().into();
    if uids_only {
        json!({"Pod": pod, "NodeNameToVictims": null, "NodeNameToMetaVictims": victims})
    } else {
        json!({"Pod": pod, "NodeNameToVictims": victims, "NodeNameToMetaVictims": null})
    }
}

/// `ExtenderBindingArgs`.
pub(super) fn binding_args(pod: &PodInfo, node: &str) -> Value {
    json!({"PodName": pod.name(), "PodNamespace": pod.namespace(), "PodUID": &*pod.uid, "Node": node})
}

fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The `Error` of an answer.
pub(super) fn error(answer: &Value) -> Result<(), String> {
    match field(answer, "Error").and_then(Value::as_str) {
        Some(error) if !error.is_empty() => Err(error.to_owned()),
        _ => Ok(()),
    }
}

fn texts(object: Option<&Value>) -> BTreeMap<String, String> {
    let entries = object.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Reads an `ExtenderFilterResult`.
pub(super) fn filtered(answer: &Value, names_only: bool) -> Filtered {
    let names = field(answer, "NodeNames").and_then(Value::as_array).filter(|_| names_only);
    let nodes = match names {
        Some(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => {
            let items = field(answer, "Nodes").and_then(|nodes| nodes.get("items")).and_then(Value::as_array);
            let name = |node: &Value| node.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
            items.into_iter().flatten().filter_map(name).collect()
        }
    };
    let failed = texts(field(answer, "FailedNodes"));
    Filtered { nodes, failed, unresolvable: texts(field(answer, "FailedAndUnresolvableNodes")) }
}

/// Reads a `HostPriorityList`.
pub(super) fn priorities(answer: &Value) -> Vec<(String, i64)> {
    let entry = |entry: &Value| Some((field(entry, "Host")?.as_str()?.to_owned(), field(entry, "Score")?.as_i64()?));
    answer.as_array().into_iter().flatten().filter_map(entry).collect()
}

/// Reads an `ExtenderPreemptionResult`.
pub(super) fn victims(answer: &Value) -> BTreeMap<String, Victims> {
    let all = field(answer, "NodeNameToMetaVictims").and_then(Value::as_object);
    let read = |(node, victims): (&String, &Value)| {
        let pods = field(victims, "Pods").and_then(Value::as_array).into_iter().flatten();
        let pods = pods.filter_map(|pod| field(pod, "UID")?.as_str().map(str::to_owned)).collect();
        let violations = field(victims, "NumPDBViolations").and_then(Value::as_u64).unwrap_or(0);
        (node.clone(), Victims { pods, violations: usize::try_from(violations).unwrap_or(usize::MAX) })
    };
    all.into_iter().flatten().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_any_case() {
        let answer =
            json!({"nodenames": ["a"], "failedNodes": {"b": "no"}, "FailedAndUnresolvableNodes": {"c": "never"}});
        let got = filtered(&answer, true);
        assert_eq!(got.nodes, ["a"]);
        assert_eq!((got.failed["b"].as_str(), got.unresolvable["c"].as_str()), ("no", "never"));
        let answer = json!({"Nodes": {"items": [{"metadata": {"name": "x"}}]}, "NodeNames": null});
        assert_eq!(filtered(&answer, false).nodes, ["x"]);
        assert_eq!(priorities(&json!([{"host": "a", "score": 7}, {"Host": "b"}])), [("a".to_owned(), 7)]);
        let answer = json!({"nodeNameToMetaVictims": {"a": {"pods": [{"uid": "u"}], "numPDBViolations": 2}}});
        assert_eq!(victims(&answer)["a"], Victims { pods: vec!["u".to_owned()], violations: 2 });
        assert_eq!(error(&json!({"error": "broken"})), Err("broken".to_owned()));
        assert_eq!(error(&json!({"Error": ""})), Ok(()));
    }
}
