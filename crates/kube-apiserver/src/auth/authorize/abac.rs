//! `--authorization-mode=ABAC`: a file of policies, one JSON object per line (abac.authorization.kubernetes.io/v1beta1).

use anyhow::{Context, ensure};
use apiserver::{
    authz::{Attributes, Authorizer, Decision, Rules},
    user::{ALL_AUTHENTICATED, UserInfo},
};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

const VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const READING: [&str; 3] = ["get", "list", "watch"];

/// The policies of a file.
pub(crate) struct Abac(Vec<Spec>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    spec: Spec,
}

/// What one policy allows, to whom; `*` stands for all.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    user: String,
    group: String,
    readonly: bool,
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    namespace: String,
    #[serde(rename = "nonResourcePath")]
    path: String,
}

// === impl Abac ===

impl Abac {
    /// Reads the lines; empty ones and comments (`#`) are passed over.
    ///
    /// # Errors
    /// The first line that is no policy.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().map(str::trim).enumerate();
        let policies = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
            let policy: Policy = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
            let known = policy.api_version == VERSION && policy.kind == "Policy";
            ensure!(known, "line {}: a Policy of {VERSION} is needed", number + 1);
            let mut spec = policy.spec;
            // The old way of naming everybody.
            if spec.user == "*" || spec.group == "*" {
                (spec.user, spec.group) = (String::new(), ALL_AUTHENTICATED.to_owned());
            }
            Ok(spec)
        });
        Ok(Self(policies.collect::<anyhow::Result<_>>()?))
    }
}

impl Spec {
    fn is_about(&self, user: &UserInfo) -> bool {
        if self.user.is_empty() && self.group.is_empty() {
            return false;
        }
        (self.user.is_empty() || self.user == user.name) && (self.group.is_empty() || user.in_group(&self.group))
    }

    fn allows(&self, asked: &Attributes) -> bool {
        if self.readonly && !READING.contains(&asked.verb.as_str()) {
            return false;
        }
        let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
        if asked.is_resource {
            return fits(&self.namespace, &asked.namespace)
                && fits(&self.resource, &asked.resource)
                && fits(&self.api_group, &asked.group);
        }
        match self.path.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix),
            None => !self.path.is_empty() && self.path == asked.path,
        }
    }
}

#[async_trait]
impl Authorizer for Abac {
    async fn authorize(&self, asked: &Attributes) -> Decision {
        match self.0.iter().any(|policy| policy.is_about(&asked.user) && policy.allows(asked)) {
            true => Decision::allow(""),
            false => Decision::no_opinion("No policy matched."),
        }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = Rules::default();
        for policy in self.0.iter().filter(|policy| policy.is_about(user)) {
            let verbs = if policy.readonly { json!(READING) } else { json!(["*"]) };
            if policy.namespace == "*" || policy.namespace == namespace {
                let (groups, resources) = ([&policy.api_group], [&policy.resource]);
                rules.resource.push(json!({"verbs": verbs, "apiGroups": groups, "resources": resources}));
            }
            if !policy.path.is_empty() {
                rules.non_resource.push(json!({"verbs": verbs, "nonResourceURLs": [policy.path]}));
            }
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use apiserver::{authz::Verdict, user::ALL_UNAUTHENTICATED};

    use super::*;

    fn file() -> Abac {
        let policy = |spec: &str| format!("{{\"apiVersion\":\"{VERSION}\",\"kind\":\"Policy\",\"spec\":{spec}}}\n");
        let text = ["# who may what\n\n".to_owned()]
            .into_iter()
            .chain([
                policy(r#"{"user":"ann","namespace":"*","resource":"*","apiGroup":"*"}"#),
                policy(r#"{"group":"dev","namespace":"a","resource":"pods","readonly":true}"#),
                policy(r#"{"user":"*","nonResourcePath":"/version*","readonly":true}"#),
            ])
            .collect::<String>();
        Abac::parse(&text).unwrap()
    }

    #[tokio::test]
    async fn policies_allow() {
        let pods = |user: UserInfo, verb: &str, namespace: &str| Attributes {
            user,
            verb: verb.into(),
            namespace: namespace.into(),
            resource: "pods".into(),
            is_resource: true,
            ..Attributes::default()
        };
        let path =
            |user, path: &str| Attributes { user, verb: "get".into(), path: path.into(), ..Attributes::default() };
        let (ann, bob) = (UserInfo::new("ann", &[]), UserInfo::new("bob", &["dev", ALL_AUTHENTICATED]));
        let nobody = UserInfo::new("x", &[ALL_UNAUTHENTICATED]);
        for (asked, allowed) in [
            (pods(ann.clone(), "delete", "b"), true),
            (path(ann, "/metrics"), false),
            (pods(bob.clone(), "list", "a"), true),
            (pods(bob.clone(), "delete", "a"), false),
            (pods(bob.clone(), "list", "b"), false),
            (path(bob, "/version/x"), true),
            (path(nobody, "/version"), false),
        ] {
            assert_eq!(file().authorize(&asked).await.verdict == Verdict::Allow, allowed, "{asked:?}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        assert!(Abac::parse("{}").is_err() && Abac::parse("text").is_err());
    }
}
