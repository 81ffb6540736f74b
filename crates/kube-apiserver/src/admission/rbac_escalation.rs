//! Nobody gives away rights that they do not hold: roles and bindings are checked against what their writer may do.
//!
//! Not one of upstream's admission plugins (it checks in the registry of these kinds), so it can't be switched off.
//! Who may `escalate` (a role) or `bind` (to a role) is trusted to know what they do.

use std::collections::BTreeMap;

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    authz::{self, Verdict},
    error::Result,
    meta,
    user::{MASTERS, UserInfo},
};
use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use crate::cell::CoreCell;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) struct RbacEscalation(pub(super) CoreCell);

#[async_trait]
impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.resource.group == GROUP
            && matches!(attributes.operation, Operation::Create | Operation::Update)
            && !attributes.user.in_group(MASTERS)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        match attributes.resource.plural.as_str() {
            "roles" | "clusterroles" => self.role(attributes, object).await,
            "rolebindings" | "clusterrolebindings" => self.binding(attributes, object).await,
            _ => Ok(()),
        }
    }
}

// === impl RbacEscalation ===

impl RbacEscalation {
    async fn role(&self, attributes: &Attributes<'_>, role: &Value) -> Result<()> {
        let grants = |role: &Value| (role.get("rules").cloned(), role.get("aggregationRule").cloned());
        if attributes.old.is_some_and(|old| grants(old) == grants(role)) {
            return Ok(());
        }
        let name = meta::name(role);
        if self.may(attributes, "escalate", &attributes.resource.plural, attributes.namespace, name).await? {
            return Ok(());
        }
        if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            let everything = rule(&["*"], &["*"], &["*"]);
            if !self.missing(attributes, vec![everything]).await?.is_empty() {
                return Err(attributes.forbidden("must have cluster-admin privileges to use the aggregationRule"));
            }
        }
        self.check(attributes, rules_of(role)).await
    }

    async fn binding(&self, attributes: &Attributes<'_>, binding: &Value) -> Result<()> {
        let kind = meta::path_text(binding, "roleRef.kind");
        let name = meta::path_text(binding, "roleRef.name");
        let (plural, namespace) = match kind.as_str() {
            "ClusterRole" => ("clusterroles", ""),
            _ => ("roles", attributes.namespace),
        };
        if self.may(attributes, "bind", plural, attributes.namespace, &name).await? {
            return Ok(());
        }
        match self.0.find(GROUP, plural, namespace, &name).await? {
            Some(role) => self.check(attributes, rules_of(&role)).await,
            None => Err(apiserver::error::Error::not_found(GROUP, plural, &name)),
        }
    }

    async fn may(
        &self,
        attributes: &Attributes<'_>,
        verb: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool> {
        let asked = authz::Attributes {
            user: attributes.user.clone(),
            verb: verb.into(),
            group: GROUP.into(),
            version: "v1".into(),
            resource: plural.into(),
            namespace: namespace.into(),
            name: name.into(),
            is_resource: true,
            ..authz::Attributes::default()
        };
        Ok(self.0.core()?.authorizer.authorize(&asked).await.verdict == Verdict::Allow)
    }

    async fn check(&self, attributes: &Attributes<'_>, wanted: Vec<PolicyRule>) -> Result<()> {
        let missing = self.missing(attributes, wanted).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let UserInfo { name, groups, .. } = attributes.user;
        let groups = quoted(groups);
        Err(attributes.forbidden(&format!(
            "user {name:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{}",
            describe(&missing).join("\n")
        )))
    }

    /// What of `wanted` the writer does not hold.
    async fn missing(&self, attributes: &Attributes<'_>, wanted: Vec<PolicyRule>) -> Result<Vec<PolicyRule>> {
        let held = self.0.core()?.authorizer.rules_for(attributes.user, attributes.namespace).await;
        let held: Vec<PolicyRule> = held
            .resource
            .into_iter()
            .chain(held.non_resource)
            .filter_map(|rule| serde_json::from_value(rule).ok())
            .collect();
        let single = wanted.iter().flat_map(break_down);
        Ok(single.filter(|wanted| !held.iter().any(|rule| covers(rule, wanted))).collect())
    }
}

fn rules_of(role: &Value) -> Vec<PolicyRule> {
    let rules = role.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(list(groups)),
        resources: Some(list(resources)),
        verbs: list(verbs),
        ..PolicyRule::default()
    }
}

/// The rule as rules of one verb for one thing each.
fn break_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut single = Vec::new();
    for verb in &rule.verbs {
        for url in rule.non_resource_urls.iter().flatten() {
            let urls = Some(vec![url.clone()]);
            single.push(PolicyRule { verbs: vec![verb.clone()], non_resource_urls: urls, ..PolicyRule::default() });
        }
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let whole = self::rule(&[group], &[resource], &[verb]);
                match rule.resource_names.as_deref().unwrap_or_default() {
                    [] => single.push(whole),
                    names => single.extend(
                        names
                            .iter()
                            .map(|name| PolicyRule { resource_names: Some(vec![name.clone()]), ..whole.clone() }),
                    ),
                }
            }
        }
    }
    single
}

/// Whether `rule` allows what the broken-down `wanted` does.
fn covers(rule: &PolicyRule, wanted: &PolicyRule) -> bool {
    let has = |list: &[String], item: &str| list.iter().any(|entry| entry == "*" || entry == item);
    let lists = |have: &Option<Vec<String>>, want: &Option<Vec<String>>| {
        want.iter().flatten().all(|item| has(have.as_deref().unwrap_or_default(), item))
    };
    let resources = rule.resources.as_deref().unwrap_or_default();
    let resource = wanted.resources.iter().flatten().all(|item| {
        let anywhere = item.split_once('/').is_some_and(|(_, sub)| resources.contains(&format!("*/{sub}")));
        has(resources, item) || anywhere
    });
    let urls = rule.non_resource_urls.as_deref().unwrap_or_default();
    let url = wanted.non_resource_urls.iter().flatten().all(|item| {
        urls.iter().any(|url| url == item || url.strip_suffix('*').is_some_and(|prefix| item.starts_with(prefix)))
    });
    let names = rule.resource_names.as_deref().unwrap_or_default();
    let name = names.is_empty()
        || wanted.resource_names.as_ref().is_some_and(|wanted| wanted.iter().all(|name| names.contains(name)));
    wanted.verbs.iter().all(|verb| has(&rule.verbs, verb))
        && lists(&rule.api_groups, &wanted.api_groups)
        && resource
        && url
        && name
}

fn quoted(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

/// One line for all verbs of one thing, in upstream's form.
fn describe(missing: &[PolicyRule]) -> Vec<String> {
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in missing {
        let parts = [
            ("APIGroups", &rule.api_groups),
            ("Resources", &rule.resources),
            ("NonResourceURLs", &rule.non_resource_urls),
            ("ResourceNames", &rule.resource_names),
        ];
        let parts = parts.iter().filter_map(|(name, list)| Some(format!("{name}:{}", quoted(list.as_ref()?))));
        lines.entry(parts.collect::<Vec<_>>().join(", ")).or_default().extend(rule.verbs.clone());
    }
    lines.into_iter().map(|(thing, verbs)| format!("{{{thing}, Verbs:{}}}", quoted(&verbs))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered() {
        let held = rule(&["", "apps"], &["pods", "*/scale"], &["get", "list"]);
        for (wanted, covered) in [
            (rule(&[""], &["pods"], &["get", "list"]), true),
            (rule(&["apps"], &["deployments/scale"], &["get"]), true),
            (rule(&[""], &["pods"], &["get", "delete"]), false),
            (rule(&["", "batch"], &["pods"], &["get"]), false),
            (rule(&["*"], &["pods"], &["get"]), false),
        ] {
            let all = break_down(&wanted).iter().all(|single| covers(&held, single));
            assert_eq!(all, covered, "{wanted:?}");
        }
        let named = PolicyRule { resource_names: Some(vec!["a".into()]), ..held.clone() };
        let pods = rule(&[""], &["pods"], &["get"]);
        assert!(!covers(&named, &pods));
        assert!(covers(&held, &PolicyRule { resource_names: Some(vec!["b".into()]), ..pods }));
        let urls = |urls: &[&str]| PolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: Some(urls.iter().map(|url| (*url).to_owned()).collect()),
            ..PolicyRule::default()
        };
        assert!(covers(&urls(&["/apis/*"]), &urls(&["/apis/apps"])));
        assert!(!covers(&urls(&["/apis/*"]), &urls(&["/apis"])));
    }

    #[test]
    fn the_missing_rights_are_told() {
        let missing = break_down(&rule(&[""], &["secrets", "pods"], &["get", "list"]));
        let lines = [
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
        ];
        assert_eq!(describe(&missing), lines);
    }
}
