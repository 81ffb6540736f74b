//! `matchLabelKeys` and `mismatchLabelKeys`: keys whose values a new pod takes from its own labels into its selectors. Whoever reads the
//! stored pod needs to look at the selector only.

use serde_json::{Map, Value, json};

/// Extends the selectors of a new pod's affinity terms and spreading constraints.
pub(crate) fn merge(pod: &mut Value) {
    let Some(labels) = pod.pointer("/metadata/labels").and_then(Value::as_object).cloned() else { return };
    let Some(spec) = pod.get_mut("spec") else { return };
    for towards in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.pointer_mut(&format!("/affinity/{towards}")) else { continue };
        for term in list(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            extend(term, &labels);
        }
        for weighted in list(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            weighted.get_mut("podAffinityTerm").into_iter().for_each(|term| extend(term, &labels));
        }
    }
    list(spec, "topologySpreadConstraints").for_each(|constraint| extend(constraint, &labels));
}

fn list<'v>(of: &'v mut Value, name: &str) -> impl Iterator<Item = &'v mut Value> {
    of.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Without a selector there is nothing to extend; keys that the pod does not have say nothing.
fn extend(term: &mut Value, labels: &Map<String, Value>) {
    let mut requirements = Vec::new();
    for (name, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = term.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let known = keys.filter_map(|key| Some((key, labels.get(key)?)));
        requirements.extend(known.map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]})));
    }
    let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut) else { return };
    if requirements.is_empty() {
        return;
    }
    let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
    if !expressions.is_array() {
        *expressions = json!([]);
    }
    expressions.as_array_mut().into_iter().for_each(|all| all.append(&mut requirements));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_expressions_of_the_pods_own_values() {
        let term = |more: Value| {
            let mut term = json!({"topologyKey": "zone"});
            term.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            term
        };
        let keys = json!({"labelSelector": {"matchLabels": {"app": "a"}}, "matchLabelKeys": ["hash", "absent"], "mismatchLabelKeys": ["tenant"]});
        let mut pod = json!({"metadata": {"labels": {"hash": "1", "tenant": "t"}}, "spec": {
            "affinity": {
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(keys.clone()), term(json!({"matchLabelKeys": ["hash"]}))]},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term(keys)}]}},
            "topologySpreadConstraints": [term(json!({"labelSelector": {}, "matchLabelKeys": ["hash"]}))]}});
        merge(&mut pod);
        let own = json!([{"key": "hash", "operator": "In", "values": ["1"]}, {"key": "tenant", "operator": "NotIn", "values": ["t"]}]);
        let at = |path: &str| pod.pointer(path).cloned();
        let required = "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        assert_eq!(at(&format!("{required}/0/labelSelector/matchExpressions")), Some(own.clone()));
        assert_eq!(at(&format!("{required}/1/labelSelector")), None);
        let preferred =
            "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";
        assert_eq!(at(&format!("{preferred}/labelSelector/matchExpressions")), Some(own));
        let spread = "/spec/topologySpreadConstraints/0/labelSelector";
        assert_eq!(at(spread), Some(json!({"matchExpressions": [{"key": "hash", "operator": "In", "values": ["1"]}]})));
    }
}
