//! Brings the stored roles and bindings into agreement with the table.

use std::{collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    api::{
        core::v1::Namespace,
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};

use super::parse::{AUTOUPDATE, Policy};

/// One object of the policy that can be compared with a stored one.
trait Reconcile: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Sized {
    /// Adds what `wanted` has and `self` lacks; whether that changed anything. `None`: can't be changed into it.
    fn merge(&mut self, wanted: &Self) -> Option<bool>;
}

/// Creates and completes all default objects. Stops at the first failure; the caller tries again.
pub(crate) async fn reconcile(client: &Client, policy: &Policy) -> Result<(), kube::Error> {
    for role in &policy.cluster_roles {
        apply(&Api::all(client.clone()), role).await?;
    }
    for binding in &policy.cluster_role_bindings {
        apply(&Api::all(client.clone()), binding).await?;
    }
    for role in &policy.roles {
        let namespace = role.namespace().unwrap_or_default();
        ensure_namespace(client, &namespace).await?;
        apply(&Api::namespaced(client.clone(), &namespace), role).await?;
    }
    for binding in &policy.role_bindings {
        apply(&Api::namespaced(client.clone(), &binding.namespace().unwrap_or_default()), binding).await?;
    }
    Ok(())
}

async fn ensure_namespace(client: &Client, name: &str) -> Result<(), kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if namespaces.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    created(namespaces.create(&PostParams::default(), &namespace).await)
}

async fn apply<K: Reconcile>(api: &Api<K>, wanted: &K) -> Result<(), kube::Error> {
    let name = wanted.name_any();
    let Some(mut stored) = api.get_opt(&name).await? else {
        return created(api.create(&PostParams::default(), wanted).await);
    };
    if stored.annotations().get(AUTOUPDATE).is_some_and(|value| value != "true") {
        return Ok(());
    }
    match stored.merge(wanted) {
        Some(false) => Ok(()),
        Some(true) => {
            tracing::info!(%name, "completing a default role or binding");
            api.replace(&name, &PostParams::default(), &stored).await.map(drop)
        }
        None => {
            tracing::info!(%name, "replacing a default binding that points to another role");
            api.delete(&name, &Default::default()).await?;
            created(api.create(&PostParams::default(), wanted).await)
        }
    }
}

/// Another server may have been faster.
fn created<K>(result: Result<K, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        other => other.map(drop),
    }
}

fn merge_metadata(stored: &mut ObjectMeta, wanted: &ObjectMeta) -> bool {
    let labels = merge_map(&mut stored.labels, &wanted.labels);
    merge_map(&mut stored.annotations, &wanted.annotations) || labels
}

fn merge_map(stored: &mut Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>) -> bool {
    let before = stored.clone();
    for (key, value) in wanted.iter().flatten() {
        stored.get_or_insert_default().insert(key.clone(), value.clone());
    }
    *stored != before
}

fn merge_list<T: Clone>(stored: &mut Option<Vec<T>>, wanted: &Option<Vec<T>>, has: impl Fn(&[T], &T) -> bool) -> bool {
    let mut changed = false;
    for item in wanted.iter().flatten() {
        if !has(stored.as_deref().unwrap_or_default(), item) {
            stored.get_or_insert_default().push(item.clone());
            changed = true;
        }
    }
    changed
}

fn merge_rules(stored: &mut Option<Vec<PolicyRule>>, wanted: &Option<Vec<PolicyRule>>) -> bool {
    merge_list(stored, wanted, |rules, wanted| rules.iter().any(|rule| covers(rule, wanted)))
}

fn merge_subjects(stored: &mut Option<Vec<Subject>>, wanted: &Option<Vec<Subject>>) -> bool {
    merge_list(stored, wanted, |subjects, wanted| subjects.iter().any(|subject| same_subject(subject, wanted)))
}

fn same_subject(a: &Subject, b: &Subject) -> bool {
    (&a.kind, &a.name, &a.namespace) == (&b.kind, &b.name, &b.namespace)
}

/// Whether `rule` allows all that `wanted` does, each list being compared on its own.
fn covers(rule: &PolicyRule, wanted: &PolicyRule) -> bool {
    let all = |have: &Option<Vec<String>>, want: &Option<Vec<String>>| {
        let have = have.as_deref().unwrap_or_default();
        want.iter().flatten().all(|item| have.contains(item) || have.iter().any(|have| have == "*"))
    };
    let names = rule.resource_names.as_ref().is_none_or(Vec::is_empty)
        || (wanted.resource_names.is_some() && all(&rule.resource_names, &wanted.resource_names));
    all(&Some(rule.verbs.clone()), &Some(wanted.verbs.clone()))
        && all(&rule.api_groups, &wanted.api_groups)
        && all(&rule.resources, &wanted.resources)
        && all(&rule.non_resource_urls, &wanted.non_resource_urls)
        && names
}

impl Reconcile for ClusterRole {
    fn merge(&mut self, wanted: &Self) -> Option<bool> {
        let metadata = merge_metadata(&mut self.metadata, &wanted.metadata);
        if wanted.aggregation_rule.is_some() {
            // The rules are the aggregation controller's; who removed the aggregation meant it.
            return Some(metadata);
        }
        Some(merge_rules(&mut self.rules, &wanted.rules) || metadata)
    }
}

impl Reconcile for Role {
    fn merge(&mut self, wanted: &Self) -> Option<bool> {
        let metadata = merge_metadata(&mut self.metadata, &wanted.metadata);
        Some(merge_rules(&mut self.rules, &wanted.rules) || metadata)
    }
}

fn merge_binding(
    stored: (&mut ObjectMeta, &RoleRef, &mut Option<Vec<Subject>>),
    wanted: (&ObjectMeta, &RoleRef, &Option<Vec<Subject>>),
) -> Option<bool> {
    let same_role = (&stored.1.kind, &stored.1.name) == (&wanted.1.kind, &wanted.1.name);
    same_role.then(|| {
        let metadata = merge_metadata(stored.0, wanted.0);
        merge_subjects(stored.2, wanted.2) || metadata
    })
}

impl Reconcile for ClusterRoleBinding {
    fn merge(&mut self, wanted: &Self) -> Option<bool> {
        merge_binding(
            (&mut self.metadata, &self.role_ref, &mut self.subjects),
            (&wanted.metadata, &wanted.role_ref, &wanted.subjects),
        )
    }
}

impl Reconcile for RoleBinding {
    fn merge(&mut self, wanted: &Self) -> Option<bool> {
        merge_binding(
            (&mut self.metadata, &self.role_ref, &mut self.subjects),
            (&wanted.metadata, &wanted.role_ref, &wanted.subjects),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_what_is_missing_and_keeps_what_was_added() {
        let policy = Policy::load();
        let wanted = policy.cluster_roles.iter().find(|role| role.name_any() == "system:node-proxier").unwrap();
        let mut stored = wanted.clone();
        assert_eq!(stored.merge(wanted), Some(false));
        let extra = PolicyRule { verbs: vec!["get".into()], ..PolicyRule::default() };
        let rules = stored.rules.as_mut().unwrap();
        let lost = rules.remove(0);
        rules.push(extra.clone());
        assert_eq!(stored.merge(wanted), Some(true));
        let rules = stored.rules.as_ref().unwrap();
        assert!(rules.contains(&lost) && rules.contains(&extra));
        assert_eq!(stored.merge(wanted), Some(false));
    }

    #[test]
    fn a_binding_to_another_role_is_replaced() {
        let policy = Policy::load();
        let wanted = &policy.cluster_role_bindings[0];
        let mut stored = wanted.clone();
        stored.role_ref.name = "other".into();
        assert_eq!(stored.merge(wanted), None);
    }
}
