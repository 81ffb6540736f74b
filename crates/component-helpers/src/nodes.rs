//! What several daemons ask about a node.

use api_types::k8s_openapi::api::core::v1::{Node, Taint};

use crate::{conditions, taints};

/// Whether the node's `Ready` condition holds.
#[must_use]
pub fn is_ready(node: &Node) -> bool {
    conditions::is_true(node.status.as_ref().and_then(|s| s.conditions.as_ref()), "Ready")
}

/// Whether the node is cordoned.
#[must_use]
pub fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false)
}

/// The node's taints.
#[must_use]
pub fn node_taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// The node's addresses of that type (`InternalIP`, `ExternalIP`, `Hostname`), in order.
#[must_use]
pub fn addresses<'a>(node: &'a Node, type_: &str) -> Vec<&'a str> {
    let all = node.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    all.iter().filter(|a| a.type_ == type_).map(|a| a.address.as_str()).collect()
}

/// Adds the taint (or replaces the value of the same one) and says whether anything changed.
pub fn add_taint(node: &mut Node, taint: Taint) -> bool {
    let all = node.spec.get_or_insert_default().taints.get_or_insert_default();
    match all.iter_mut().find(|t| taints::same(t, &taint)) {
        Some(old) if old.value == taint.value => false,
        Some(old) => {
            *old = taint;
            true
        }
        None => {
            all.push(taint);
            true
        }
    }
}

/// Removes taints with that key and effect and says whether there were any. An emptied list becomes absent.
pub fn remove_taint(node: &mut Node, key: &str, effect: &str) -> bool {
    let Some(all) = node.spec.as_mut().and_then(|s| s.taints.as_mut()) else {
        return false;
    };
    let before = all.len();
    all.retain(|t| t.key != key || t.effect != effect);
    let removed = all.len() != before;
    if let Some(spec) = node.spec.as_mut().filter(|s| s.taints.as_ref().is_some_and(Vec::is_empty)) {
        spec.taints = None;
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_identified_by_key_and_effect() {
        let taint = |key: &str, value: &str| Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: taints::NO_SCHEDULE.into(),
            time_added: None,
        };
        let mut node = Node::default();
        assert!(add_taint(&mut node, taint("a", "1")));
        assert!(!add_taint(&mut node, taint("a", "1")));
        assert!(add_taint(&mut node, taint("a", "2")));
        assert_eq!(node_taints(&node).len(), 1);
        assert!(!remove_taint(&mut node, "a", taints::NO_EXECUTE));
        assert!(remove_taint(&mut node, "a", taints::NO_SCHEDULE));
        assert_eq!(node.spec.and_then(|s| s.taints), None);
    }
}
