//! Whether a policy, a binding or a webhook is about a request.

use api_types::selector::LabelSelector;
use serde_json::Value;

/// Rules and selectors of a policy, binding or webhook.
#[derive(Debug, Default)]
pub(in crate::admission) struct Match {
    namespaces: Selector,
    objects: Selector,
    /// `None`: everything.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// Whether a rule for another version of a resource counts.
    equivalent: bool,
}

/// A selector, or why it is none.
#[derive(Debug)]
struct Selector(Result<LabelSelector, String>);

impl Default for Selector {
    fn default() -> Self {
        Selector(Ok(LabelSelector::everything()))
    }
}

impl Selector {
    fn of(value: &Value) -> Self {
        if value.is_null() {
            return Selector::default();
        }
        Selector(LabelSelector::from_object(value).map_err(|e| e.to_string()))
    }

    fn get(&self) -> Result<&LabelSelector, String> {
        self.0.as_ref().map_err(Clone::clone)
    }
}

#[derive(Debug, Default)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

/// A resource that a rule may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) operation: &'a str,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) plural: &'a str,
    pub(super) subresource: &'a str,
    pub(super) namespaced: bool,
    pub(super) name: &'a str,
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

fn rules(list: &Value) -> Vec<Rule> {
    list.as_array().into_iter().flatten().map(Rule::of).collect()
}

impl Rule {
    fn of(rule: &Value) -> Rule {
        Rule {
            operations: strings(&rule["operations"]),
            groups: strings(&rule["apiGroups"]),
            versions: strings(&rule["apiVersions"]),
            resources: strings(&rule["resources"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
            names: strings(&rule["resourceNames"]),
        }
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        let any = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let in_scope = match self.scope.as_str() {
            "Namespaced" => target.namespaced,
            // A namespace counts as one of the cluster's.
            "Cluster" => !target.namespaced || (target.group.is_empty() && target.plural == "namespaces"),
            _ => true,
        };
        in_scope
            && any(&self.operations, target.operation)
            && any(&self.groups, target.group)
            && any(&self.versions, target.version)
            && (self.names.is_empty() || self.names.iter().any(|n| n == target.name))
            && self.resources.iter().any(|resource| {
                let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                (plural == "*" || plural == target.plural) && (subresource == "*" || subresource == target.subresource)
            })
    }
}

/// The labels that selectors look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels<'a> {
    pub(super) object: &'a Value,
    pub(super) old: &'a Value,
    /// Of the namespace that the request is in, or is about; none for what is in none.
    pub(super) namespace: Option<&'a Value>,
}

impl Match {
    /// From `matchConstraints` or `matchResources`; null matches everything.
    pub(super) fn of(value: &Value) -> Match {
        let rules = Some(rules(&value["resourceRules"])).filter(|rules| !rules.is_empty());
        Match { rules, excluded: self::rules(&value["excludeResourceRules"]), ..Match::of_webhook(value) }
    }

    /// From a webhook: without rules it is about nothing.
    pub(in crate::admission) fn of_webhook(value: &Value) -> Match {
        Match {
            namespaces: Selector::of(&value["namespaceSelector"]),
            objects: Selector::of(&value["objectSelector"]),
            rules: Some(rules(&value["rules"])),
            excluded: Vec::new(),
            equivalent: value["matchPolicy"] != "Exact",
        }
    }

    /// Which of `targets` (the request's own first, then the same resource in other versions) this is about.
    ///
    /// # Errors
    /// A selector that can't be read, of what has a rule for the request: others harm nobody.
    pub(super) fn find(&self, targets: &[Target<'_>], labels: Labels<'_>) -> Result<Option<usize>, String> {
        match self.ruled(targets) {
            Some(target) => Ok(self.selects(labels)?.then_some(target)),
            None => Ok(None),
        }
    }

    /// The target that the rules name.
    fn ruled(&self, targets: &[Target<'_>]) -> Option<usize> {
        let targets = if self.equivalent { targets } else { &targets[..targets.len().min(1)] };
        // The request's own version if any rule names it; else the one that the first of the rules names.
        let named = |rules: &[Rule]| {
            let own = targets.first().filter(|own| rules.iter().any(|rule| rule.matches(own)));
            own.map(|_| 0).or_else(|| rules.iter().find_map(|rule| targets.iter().position(|t| rule.matches(t))))
        };
        if named(&self.excluded).is_some() {
            return None;
        }
        self.rules.as_ref().map_or(Some(0), |rules| named(rules))
    }

    fn selects(&self, labels: Labels<'_>) -> Result<bool, String> {
        if let Some(namespace) = labels.namespace
            && !self.namespaces.get()?.matches(namespace.as_object())
        {
            return Ok(false);
        }
        let objects = self.objects.get()?;
        let selected = |object: &Value| !object.is_null() && objects.matches(object["metadata"]["labels"].as_object());
        Ok(objects.is_everything() || selected(labels.object) || selected(labels.old))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PODS: Target<'_> = Target {
        operation: "CREATE",
        group: "",
        version: "v1",
        plural: "pods",
        subresource: "",
        namespaced: true,
        name: "a",
    };

    fn matches(policy: Value, target: Target<'_>, object: Value) -> bool {
        let labels = json!({"env": "prod"});
        let seen = Labels { object: &object, old: &Value::Null, namespace: Some(&labels) };
        Match::of(&policy).find(&[target], seen).expect("selectors are fine").is_some()
    }

    fn rule(resources: &str) -> Value {
        json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resources]}])
    }

    #[test]
    fn rules_name_resources() {
        let pod = || json!({"metadata": {}});
        for (resources, wanted) in
            [("pods", true), ("*", true), ("*/*", true), ("pods/*", true), ("pods/status", false), ("services", false)]
        {
            assert_eq!(matches(json!({"resourceRules": rule(resources)}), PODS, pod()), wanted, "{resources}");
        }
        let status = Target { subresource: "status", ..PODS };
        assert!(matches(json!({"resourceRules": rule("*/status")}), status, pod()));
        assert!(!matches(json!({"resourceRules": rule("pods")}), status, pod()));
        assert!(!matches(json!({"resourceRules": rule("pods")}), Target { operation: "UPDATE", ..PODS }, pod()));
        let excluded = json!({"resourceRules": rule("*"), "excludeResourceRules": rule("pods")});
        assert!(!matches(excluded, PODS, pod()));
        let mut named = rule("pods");
        named[0]["resourceNames"] = json!(["b"]);
        assert!(!matches(json!({"resourceRules": named}), PODS, pod()));
    }

    #[test]
    fn a_webhook_without_rules_is_about_nothing() {
        let pod = json!({"metadata": {}});
        let labels = Labels { object: &pod, old: &Value::Null, namespace: None };
        let find = |webhook: Value| Match::of_webhook(&webhook).find(&[PODS], labels).expect("selectors are fine");
        assert_eq!((find(json!({})), find(json!({"rules": rule("pods")}))), (None, Some(0)));
        assert!(matches(json!({}), PODS, pod.clone()), "a policy without rules is about everything");
    }

    #[test]
    fn a_selector_that_can_not_be_read_harms_only_what_its_rules_name() {
        let labels = Labels { object: &Value::Null, old: &Value::Null, namespace: Some(&Value::Null) };
        let webhook = |resource: &str| {
            Match::of_webhook(&json!({
                "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}],
                "namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Perhaps"}]},
            }))
        };
        assert_eq!(webhook("nodes").find(&[PODS], labels), Ok(None));
        assert!(webhook("pods").find(&[PODS], labels).is_err());
    }

    #[test]
    fn selectors_narrow() {
        let pod = || json!({"metadata": {"labels": {"app": "web"}}});
        let by = |which: &str, key: &str, value: &str| json!({"resourceRules": rule("pods"), which: {"matchLabels": {key: value}}});
        assert!(matches(by("objectSelector", "app", "web"), PODS, pod()));
        assert!(!matches(by("objectSelector", "app", "db"), PODS, pod()));
        assert!(matches(by("namespaceSelector", "env", "prod"), PODS, pod()));
        assert!(!matches(by("namespaceSelector", "env", "test"), PODS, pod()));
    }

    #[test]
    fn another_version_counts_when_equivalent() {
        let policy = |policy: &str| {
            json!({"matchPolicy": policy, "resourceRules": [{"operations": ["*"], "apiGroups": ["apps"],
                "apiVersions": ["v1beta1"], "resources": ["deployments"]}]})
        };
        let one = |version| Target { group: "apps", plural: "deployments", version, ..PODS };
        let object = json!({"metadata": {}});
        let labels = Labels { object: &object, old: &Value::Null, namespace: None };
        let find = |p: &str| Match::of(&policy(p)).find(&[one("v1"), one("v1beta1")], labels).expect("fine");
        assert_eq!((find("Equivalent"), find("Exact")), (Some(1), None));

        let versions = |versions: &[&str]| {
            let rule = |version: &&str| json!({"operations": ["*"], "apiGroups": ["apps"], "apiVersions": [version], "resources": ["deployments"]});
            let webhook = json!({"rules": versions.iter().map(rule).collect::<Vec<_>>()});
            let targets = [one("v1"), one("v1beta1"), one("v1beta2")];
            Match::of_webhook(&webhook).find(&targets, labels).expect("fine")
        };
        assert_eq!(versions(&["v1beta2", "v1beta1"]), Some(2), "the first rule counts");
        assert_eq!(versions(&["v1beta2", "v1"]), Some(0), "no conversion that nobody needs");
    }
}
