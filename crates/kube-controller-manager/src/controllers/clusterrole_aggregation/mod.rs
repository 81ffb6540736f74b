//! Fills ClusterRoles that have an aggregation rule with the rules of the ClusterRoles that it selects (`admin`, `edit`, `view`).

use std::sync::Arc;

use api_types::k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use component_helpers::labels;
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Store, WorkQueue};
use kube::{Api, Client, ResourceExt, api::PostParams};

use crate::context::Context;

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let queue = WorkQueue::new();
    let roles = context.informer::<ClusterRole>();
    let (all, on_role) = (roles.store().clone(), queue.clone());
    roles.on_event(move |_| {
        // Few roles aggregate, and any role may be one of their parts.
        let aggregating = all.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregating.for_each(|role| on_role.add(ObjectKey::of(role.as_ref())));
    });
    let (store, client) = (Arc::new(roles.store().clone()), context.client.clone());
    context.run(&queue, move |key| reconcile(client.clone(), store.clone(), key));
    Ok(())
}

/// The rules that a role should have: those of the selected ones, by name, each once; none when it does not aggregate.
fn rules(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut rules = Vec::new();
    for part in all.iter().filter(|part| part.metadata.name != role.metadata.name) {
        if selectors.iter().any(|selector| labels::matches(selector, Some(part.labels()))) {
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

async fn reconcile(client: Client, roles: Arc<Store<ClusterRole>>, key: ObjectKey) -> Outcome {
    let Some(role) = roles.get(&key) else { return Ok(Action::Done) };
    let Some(wanted) = rules(&role, &roles.list()) else { return Ok(Action::Done) };
    if role.rules.as_deref().unwrap_or_default() != wanted {
        let updated = ClusterRole { rules: Some(wanted), ..role.as_ref().clone() };
        Api::all(client).replace(&key.name, &PostParams::default(), &updated).await?;
    }
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(value: serde_json::Value) -> Arc<ClusterRole> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn selected_rules_are_joined_once() {
        let rule = |resource: &str| json!([{"verbs": ["get"], "resources": [resource]}]);
        let part = |name: &str, resource: &str| {
            role(json!({"metadata": {"name": name, "labels": {"to": "view"}}, "rules": rule(resource)}))
        };
        let view = role(json!({"metadata": {"name": "view", "labels": {"to": "view"}}, "rules": rule("own"),
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}}));
        let other = role(json!({"metadata": {"name": "other"}, "rules": rule("secrets")}));
        let all = [part("a", "pods"), part("b", "nodes"), part("c", "pods"), other.clone(), view.clone()];
        let names: Vec<_> = rules(&view, &all).unwrap().into_iter().flat_map(|r| r.resources.unwrap()).collect();
        assert_eq!(names, ["pods", "nodes"]);
        assert_eq!(rules(&other, &all), None);
    }
}
