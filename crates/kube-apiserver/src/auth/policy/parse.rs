//! The table `policy.txt` as objects. A line that can't be read is a mistake in this repository, found by the test below.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::rbac::v1::{
        AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

const TABLE: &str = include_str!("policy.txt");
const RBAC: &str = "rbac.authorization.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
/// An object with this annotation set to anything else is the administrator's, and left alone.
pub(super) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// All default objects, each list in the table's order.
#[derive(Default)]
pub(crate) struct Policy {
    pub cluster_roles: Vec<ClusterRole>,
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    pub roles: Vec<Role>,
    pub role_bindings: Vec<RoleBinding>,
}

/// What rules and bindings that follow belong to.
enum Owner {
    Cluster(String),
    Namespace(String, String),
}

#[derive(Debug, thiserror::Error)]
#[error("policy.txt line {line}: {text}")]
pub(super) struct BadLine {
    line: usize,
    text: String,
}

impl Policy {
    /// The table.
    pub(crate) fn load() -> Self {
        Self::parse(TABLE).expect("the table is part of the build, and a test reads it")
    }

    /// The rules of one ClusterRole of the table.
    pub(crate) fn rules_of(&self, cluster_role: &str) -> Vec<PolicyRule> {
        let role = self.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some(cluster_role));
        role.and_then(|role| role.rules.clone()).unwrap_or_default()
    }

    fn parse(table: &str) -> Result<Self, BadLine> {
        let mut policy = Self::default();
        let mut owner = None;
        for (number, line) in table.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let done = match (line.starts_with(' '), &owner) {
                (false, _) => policy.begin(&words).map(|new| owner = Some(new)),
                (true, Some(owner)) => policy.add(owner, &words),
                (true, None) => None,
            };
            done.ok_or_else(|| BadLine { line: number + 1, text: line.to_owned() })?;
        }
        Ok(policy)
    }

    fn begin(&mut self, words: &[&str]) -> Option<Owner> {
        match words {
            ["clusterrole", name, options @ ..] => {
                let mut role = ClusterRole { metadata: metadata(name, None), ..ClusterRole::default() };
                for option in options {
                    let (key, value) = option.split_once('=')?;
                    let label = BTreeMap::from([(format!("{RBAC}/aggregate-to-{value}"), "true".to_owned())]);
                    match key {
                        "label" => role.metadata.labels.get_or_insert_default().extend(label),
                        "aggregate" => role.aggregation_rule = Some(aggregation(label)),
                        _ => return None,
                    }
                }
                self.cluster_roles.push(role);
                Some(Owner::Cluster((*name).to_owned()))
            }
            ["controller", name] => {
                let role = format!("system:controller:{name}");
                self.cluster_roles.push(ClusterRole { metadata: metadata(&role, None), ..ClusterRole::default() });
                let owner = Owner::Cluster(role);
                self.bind(&owner, &[&format!("sa:kube-system/{name}")])?;
                Some(owner)
            }
            ["role", namespace, name] => {
                self.roles.push(Role { metadata: metadata(name, Some(namespace)), rules: Some(Vec::new()) });
                Some(Owner::Namespace((*namespace).to_owned(), (*name).to_owned()))
            }
            _ => None,
        }
    }

    fn add(&mut self, owner: &Owner, words: &[&str]) -> Option<()> {
        let rule = match words {
            ["bind", rest @ ..] => return self.bind(owner, rest),
            ["events"] => rule("core,events.k8s.io", "events", "create,update,patch", None),
            ["url", paths, verbs] => PolicyRule {
                non_resource_urls: Some(sorted(paths.split(',').map(str::to_owned))),
                verbs: expand(verbs),
                ..PolicyRule::default()
            },
            [groups, resources, verbs] => rule(groups, resources, verbs, None),
            [groups, resources, verbs, names] => rule(groups, resources, verbs, Some(names.strip_prefix("names=")?)),
            _ => return None,
        };
        let rules = match owner {
            Owner::Cluster(_) => &mut self.cluster_roles.last_mut()?.rules,
            Owner::Namespace(..) => &mut self.roles.last_mut()?.rules,
        };
        rules.get_or_insert_default().push(rule);
        Some(())
    }

    fn bind(&mut self, owner: &Owner, words: &[&str]) -> Option<()> {
        let (alias, subjects) = match words.split_first() {
            Some((first, rest)) if first.starts_with("as=") => (first.strip_prefix("as="), rest),
            _ => (None, words),
        };
        let subjects = match subjects {
            ["nobody"] => None,
            _ => Some(subjects.iter().map(|word| subject(word)).collect::<Option<Vec<_>>>()?),
        };
        let reference =
            |kind: &str, name: &str| RoleRef { api_group: Some(RBAC.into()), kind: kind.into(), name: name.into() };
        match owner {
            Owner::Cluster(role) => self.cluster_role_bindings.push(ClusterRoleBinding {
                metadata: metadata(alias.unwrap_or(role), None),
                role_ref: reference("ClusterRole", role),
                subjects,
            }),
            Owner::Namespace(namespace, role) => self.role_bindings.push(RoleBinding {
                metadata: metadata(alias.unwrap_or(role), Some(namespace)),
                role_ref: reference("Role", role),
                subjects,
            }),
        }
        Some(())
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
    let pair = |key: &str, value: &str| Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        labels: pair("kubernetes.io/bootstrapping", "rbac-defaults"),
        annotations: pair(AUTOUPDATE, "true"),
        ..ObjectMeta::default()
    }
}

fn aggregation(label: BTreeMap<String, String>) -> AggregationRule {
    let selector = LabelSelector { match_labels: Some(label), ..LabelSelector::default() };
    AggregationRule { cluster_role_selectors: Some(vec![selector]) }
}

fn rule(groups: &str, resources: &str, verbs: &str, names: Option<&str>) -> PolicyRule {
    let group = |group: &str| if group == "core" { String::new() } else { group.to_owned() };
    PolicyRule {
        api_groups: Some(sorted(groups.split(',').map(group))),
        resources: Some(sorted(resources.split(',').map(str::to_owned))),
        resource_names: names.map(|names| sorted(names.split(',').map(str::to_owned))),
        verbs: expand(verbs),
        ..PolicyRule::default()
    }
}

fn expand(verbs: &str) -> Vec<String> {
    let verbs = verbs.split(',').flat_map(|verb| match verb {
        "read" => READ.to_vec(),
        "write" => WRITE.to_vec(),
        other => vec![other],
    });
    sorted(verbs.map(str::to_owned))
}

/// Upstream writes every list of a rule in order.
fn sorted(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut items: Vec<_> = items.collect();
    items.sort();
    items
}

fn subject(word: &str) -> Option<Subject> {
    let (kind, name) = word.split_once(':')?;
    let subject = |kind: &str, name: &str| Subject {
        api_group: Some(RBAC.to_owned()),
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: None,
    };
    match kind {
        "user" => Some(subject("User", name)),
        "group" => Some(subject("Group", name)),
        "sa" => {
            let (namespace, name) = name.split_once('/')?;
            Some(Subject { api_group: None, namespace: Some(namespace.to_owned()), ..subject("ServiceAccount", name) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        let policy = Policy::parse(TABLE).unwrap();
        assert!(policy.cluster_roles.len() > 60, "{}", policy.cluster_roles.len());
        for role in &policy.cluster_roles {
            assert!(role.rules.is_some() || role.aggregation_rule.is_some(), "{:?} grants nothing", role.metadata.name);
        }
    }

    #[test]
    fn a_line_becomes_a_rule_or_an_error() {
        let policy = Policy::parse("clusterrole a\n  core,apps pods,events read names=x\n  bind sa:ns/name").unwrap();
        let rule = &policy.rules_of("a")[0];
        assert_eq!(rule.api_groups.as_deref().unwrap(), ["", "apps"]);
        assert_eq!(rule.resources.as_deref().unwrap(), ["events", "pods"]);
        assert_eq!(rule.verbs, ["get", "list", "watch"]);
        assert_eq!(rule.resource_names.as_deref().unwrap(), ["x"]);
        let subject = &policy.cluster_role_bindings[0].subjects.as_ref().unwrap()[0];
        assert_eq!((&*subject.kind, subject.namespace.as_deref()), ("ServiceAccount", Some("ns")));
        for bad in ["  core pods get", "clusterrole a b", "clusterrole a\n  core pods", "clusterrole a\n  bind x"] {
            assert!(Policy::parse(bad).is_err(), "{bad}");
        }
    }
}
