//! Node selectors worked out once for each value of the labels that they name, so that asking a node is looking up numbers.

use std::sync::Arc;

use api_types::k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use component_helpers::node_affinity::requirement_matches;

use super::{Column, NodeInfo, Snapshot};

/// A node selector for the nodes of one snapshot.
#[derive(Clone, Debug)]
pub struct CompiledSelector {
    /// One of them must hold, with all its requirements.
    terms: Vec<Vec<Requirement>>,
}

#[derive(Clone, Debug)]
enum Requirement {
    Label {
        column: Arc<Column>,
        /// By the number of the value.
        accepted: Vec<bool>,
        /// Whether nodes without the label will do.
        absent: bool,
    },
    Name(NodeSelectorRequirement),
    Never,
}

impl CompiledSelector {
    /// Works the selector out.
    #[must_use]
    pub fn new(snapshot: &Snapshot, selector: &NodeSelector) -> Self {
        CompiledSelector { terms: selector.node_selector_terms.iter().map(|term| compile(snapshot, term)).collect() }
    }

    /// Whether the selector picks the node.
    #[must_use]
    pub fn picks(&self, node: &NodeInfo) -> bool {
        self.terms.iter().any(|term| term.iter().all(|requirement| requirement.holds(node)))
    }
}

fn compile(snapshot: &Snapshot, term: &NodeSelectorTerm) -> Vec<Requirement> {
    let labels = term.match_expressions.iter().flatten().map(|requirement| {
        let column = snapshot.column(&requirement.key);
        let mut accepted = vec![false; column.places()];
        column.values().for_each(|(value, place)| accepted[place] = requirement_matches(requirement, Some(value)));
        Requirement::Label { accepted, absent: requirement_matches(requirement, None), column }
    });
    let fields = term.match_fields.iter().flatten().map(|requirement| match requirement.key.as_str() {
        "metadata.name" => Requirement::Name(requirement.clone()),
        _ => Requirement::Never,
    });
    let all: Vec<_> = labels.chain(fields).collect();
    // A term that asks for nothing picks nothing.
    if all.is_empty() { vec![Requirement::Never] } else { all }
}

impl Requirement {
    fn holds(&self, node: &NodeInfo) -> bool {
        match self {
            Requirement::Label { column, accepted, absent } => column.of(node).map_or(*absent, |place| accepted[place]),
            Requirement::Name(requirement) => requirement_matches(requirement, Some(node.name())),
            Requirement::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use component_helpers::node_affinity::selector_matches;
    use serde_json::json;

    use super::*;

    #[test]
    fn picks_what_the_selector_picks() {
        let mut snapshot = Snapshot::default();
        for n in 0..12 {
            let mut labels = json!({"zone": format!("z{}", n % 3)});
            if n % 2 == 0 {
                labels["cores"] = json!(format!("{n}"));
            }
            let node = json!({"metadata": {"name": format!("n{n}"), "labels": labels}});
            snapshot.set_node(Arc::new(serde_json::from_value(node).unwrap()));
        }
        let table = [
            json!([]),
            json!([{}]),
            json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1", "z9"]}]}]),
            json!([{"matchExpressions": [{"key": "cores", "operator": "NotIn", "values": ["4"]}]}]),
            json!([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}, {"key": "zone", "operator": "Exists"}]}]),
            json!([{"matchExpressions": [{"key": "cores", "operator": "DoesNotExist"}]}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n4"]}]}]),
            json!([{"matchFields": [{"key": "metadata.other", "operator": "In", "values": ["n4"]}]}]),
        ];
        snapshot.settle();
        for terms in table {
            let selector: NodeSelector = serde_json::from_value(json!({"nodeSelectorTerms": terms})).unwrap();
            let compiled = CompiledSelector::new(&snapshot, &selector);
            for node in snapshot.nodes() {
                assert_eq!(compiled.picks(node), selector_matches(&selector, &node.node), "{terms} {}", node.name());
            }
        }
    }
}
