//! What one RBAC rule allows, and rules as SelfSubjectRulesReview shows them.

use apiserver::authz::{Attributes, Rules};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

/// Whether `rule` allows the request.
pub(super) fn allows(rule: &PolicyRule, request: &Attributes) -> bool {
    if !has(&rule.verbs, &request.verb) {
        return false;
    }
    if !request.is_resource {
        return rule.non_resource_urls.iter().flatten().any(|url| url_matches(url, &request.path));
    }
    let names = rule.resource_names.as_deref().unwrap_or_default();
    has(rule.api_groups.as_deref().unwrap_or_default(), &request.group)
        && resource_matches(rule.resources.as_deref().unwrap_or_default(), &request.resource, &request.subresource)
        && (names.is_empty() || names.contains(&request.name))
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|entry| entry == item || entry == "*")
}

fn url_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

/// `*` is every resource and subresource, `*/scale` that subresource of every resource; `pods` has no subresources.
fn resource_matches(rules: &[String], resource: &str, subresource: &str) -> bool {
    rules.iter().any(|rule| match rule.split_once('/') {
        None => rule == "*" || (subresource.is_empty() && rule == resource),
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == "*" || of == resource),
    })
}

/// The rules of those that may do anything.
pub(super) fn everything() -> Rules {
    Rules {
        resource: vec![json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})],
        non_resource: vec![json!({"verbs": ["*"], "nonResourceURLs": ["*"]})],
        incomplete: false,
    }
}

/// Adds `rule` to what is shown: (resource rule, non-resource rule), whichever it is.
pub(super) fn show(rule: &PolicyRule, into: &mut Rules) {
    if rule.resources.as_ref().is_some_and(|list| !list.is_empty()) {
        let mut shown = json!({
            "verbs": rule.verbs,
            "apiGroups": rule.api_groups.clone().unwrap_or_default(),
            "resources": rule.resources,
        });
        if let (Some(names), Some(fields)) = (&rule.resource_names, shown.as_object_mut()) {
            fields.insert("resourceNames".into(), Value::from(names.clone()));
        }
        into.resource.push(shown);
    }
    if let Some(urls) = rule.non_resource_urls.as_ref().filter(|urls| !urls.is_empty()) {
        into.non_resource.push(json!({"verbs": rule.verbs, "nonResourceURLs": urls}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &str, resources: &str, verbs: &str, names: &str) -> PolicyRule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            verbs: list(verbs),
            resource_names: (!names.is_empty()).then(|| list(names)),
            non_resource_urls: None,
        }
    }

    fn request(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> Attributes {
        Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    #[test]
    fn resource_rules() {
        let pods = rule(",apps", "pods,deployments", "get,list", "");
        let logs = rule("", "pods/log", "get", "");
        let scale = rule("*", "*/scale", "*", "");
        let all = rule("*", "*", "*", "");
        let one = rule("", "configmaps", "get", "a,b");
        for (rule, request, allowed) in [
            (&pods, request("get", "", "pods", "", "x"), true),
            (&pods, request("get", "batch", "pods", "", "x"), false),
            (&pods, request("delete", "", "pods", "", "x"), false),
            (&pods, request("get", "", "pods", "log", "x"), false),
            (&logs, request("get", "", "pods", "log", "x"), true),
            (&logs, request("get", "", "pods", "", "x"), false),
            (&scale, request("update", "apps", "deployments", "scale", "x"), true),
            (&scale, request("update", "apps", "deployments", "", "x"), false),
            (&all, request("update", "apps", "deployments", "status", "x"), true),
            (&one, request("get", "", "configmaps", "", "b"), true),
            (&one, request("get", "", "configmaps", "", "c"), false),
            (&one, request("get", "", "configmaps", "", ""), false),
        ] {
            assert_eq!(allows(rule, &request), allowed, "{rule:?} {request:?}");
        }
        assert!(!allows(&all, &Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() }));
    }

    #[test]
    fn url_rules() {
        let rule = PolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: Some(vec!["/apis/*".into(), "/version".into()]),
            ..PolicyRule::default()
        };
        for (path, allowed) in [("/version", true), ("/version/", false), ("/apis/apps", true), ("/apis", false)] {
            let request = Attributes { verb: "get".into(), path: path.into(), ..Attributes::default() };
            assert_eq!(allows(&rule, &request), allowed, "{path}");
        }
    }
}
