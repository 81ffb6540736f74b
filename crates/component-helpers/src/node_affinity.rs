//! Node selectors: `spec.nodeSelector`, required node affinity, and the same terms in volumes.

use std::collections::BTreeMap;

use api_types::k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether the pod's node selector and required node affinity accept the node.
#[must_use]
pub fn pod_accepts(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value));
    selected && required(spec).is_none_or(|selector| selector_matches(selector, node))
}

/// The pod's required node affinity.
#[must_use]
pub fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Whether one of the selector's terms picks the node. No terms pick nothing.
#[must_use]
pub fn selector_matches(selector: &NodeSelector, node: &Node) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, node))
}

/// Whether the term picks the node. A term that asks for nothing picks nothing.
#[must_use]
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    expressions.iter().all(|r| requirement_matches(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && requirement_matches(r, Some(name)))
}

/// Whether the value (none: the label is absent) meets the requirement.
#[must_use]
pub fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|v| v == value));
    let number = |holds: fn(i64, i64) -> bool| {
        let (Some(value), [limit]) = (value, values) else {
            return false;
        };
        matches!((value.parse(), limit.parse()), (Ok(value), Ok(limit)) if holds(value, limit))
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(|value, limit| value > limit),
        "Lt" => number(|value, limit| value < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> NodeSelectorRequirement {
        NodeSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        }
    }

    fn node() -> Node {
        let mut node = Node::default();
        node.metadata.name = Some("n1".into());
        node.metadata.labels =
            Some(BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("cores".to_owned(), "8".to_owned())]));
        node
    }

    #[test]
    fn terms() {
        let table = [
            (requirement("zone", "In", &["a", "b"]), true),
            (requirement("zone", "NotIn", &["a"]), false),
            (requirement("rack", "NotIn", &["a"]), true),
            (requirement("rack", "DoesNotExist", &[]), true),
            (requirement("zone", "Exists", &[]), true),
            (requirement("cores", "Gt", &["4"]), true),
            (requirement("cores", "Lt", &["8"]), false),
            (requirement("zone", "Gt", &["4"]), false),
        ];
        for (requirement, want) in table {
            let term = NodeSelectorTerm { match_expressions: Some(vec![requirement.clone()]), match_fields: None };
            assert_eq!(term_matches(&term, &node()), want, "{requirement:?}");
        }
        assert!(!term_matches(&NodeSelectorTerm::default(), &node()), "an empty term picks nothing");
        let by_name = |name: &str| NodeSelectorTerm {
            match_fields: Some(vec![requirement("metadata.name", "In", &[name])]),
            ..Default::default()
        };
        assert!(term_matches(&by_name("n1"), &node()));
        assert!(!term_matches(&by_name("n2"), &node()));
    }

    #[test]
    fn node_selector_and_terms_both_bind() {
        let mut spec = PodSpec {
            node_selector: Some(BTreeMap::from([("zone".to_owned(), "a".to_owned())])),
            ..Default::default()
        };
        assert!(pod_accepts(&spec, &node()));
        let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
        affinity.required_during_scheduling_ignored_during_execution =
            Some(NodeSelector { node_selector_terms: vec![] });
        assert!(!pod_accepts(&spec, &node()), "no terms pick nothing");
    }
}
