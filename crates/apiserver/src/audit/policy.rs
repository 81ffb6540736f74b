//! What is told of which requests: `audit.k8s.io/v1` Policy, and the decision about one request. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{request_info::RequestInfo, user::UserInfo};

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// When something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// Resources of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// One rule; the first that a request meets decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    paths: Vec<String>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    omit_managed_fields: Option<bool>,
}

/// A policy as its file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: BTreeSet<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// What is told of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub level: Level,
    pub omit_stages: BTreeSet<Stage>,
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let policy: Policy = serde_yaml::from_str(text).map_err(|e| format!("failed decoding: {e}"))?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            return Err(format!("unknown group version field {} in policy", policy.api_version));
        }
        if policy.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|why| format!("rules[{index}].{why}"))?;
        }
        Ok(policy)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        for (index, path) in self.paths.iter().enumerate().filter(|(_, path)| *path != "*") {
            let at = format!("nonResourceURLs[{index}]: Invalid value: {path:?}");
            if !path.starts_with('/') {
                return Err(format!("{at}: non-resource URL rules must begin with a '/' character"));
            }
            if path.find('*').is_some_and(|star| star + 1 < path.len()) {
                return Err(format!("{at}: non-resource URL wildcards '*' must be the final character of the rule"));
            }
        }
        if self.resources.iter().any(|r| !r.resource_names.is_empty() && r.resources.is_empty()) {
            return Err("resources.resourceNames: using resourceNames requires at least one resource".to_owned());
        }
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.paths.is_empty() {
            return Err(
                "nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs".to_owned()
            );
        }
        Ok(())
    }

    fn matches(&self, info: &RequestInfo, user: Option<&UserInfo>) -> bool {
        let is_of = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        if !self.users.is_empty() && !user.is_some_and(|user| self.users.contains(&user.name)) {
            return false;
        }
        let in_group = |user: &UserInfo| user.groups.iter().any(|group| self.user_groups.contains(group));
        if !self.user_groups.is_empty() && !user.is_some_and(in_group) {
            return false;
        }
        if !is_of(&self.verbs, &info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let resource = self.resources.is_empty() || self.resources.iter().any(|r| r.matches(info));
            return info.is_resource && is_of(&self.namespaces, &info.namespace) && resource;
        }
        let path = |of: &String| match of.strip_suffix('*') {
            Some(start) => info.path.starts_with(start),
            None => info.path == *of,
        };
        self.paths.is_empty() || (!info.is_resource && self.paths.iter().any(path))
    }
}

impl Resources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != info.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        let (resource, subresource) = (info.resource.as_str(), info.subresource.as_str());
        self.resources.iter().any(|of| match of.split_once('/') {
            None => of == "*" || (of == resource && subresource.is_empty()),
            Some(("*", wanted)) => !subresource.is_empty() && wanted == subresource,
            Some((wanted, "*")) => wanted == resource,
            Some((wanted, sub)) => wanted == resource && sub == subresource,
        })
    }
}

/// Decides by the first rule that the request meets; nothing is told where there is none.
pub fn decide(policy: &Policy, info: &RequestInfo, user: Option<&UserInfo>) -> Decision {
    let rule = policy.rules.iter().find(|rule| rule.matches(info, user));
    let own = rule.map(|rule| rule.omit_stages.clone()).unwrap_or_default();
    Decision {
        level: rule.map(|rule| rule.level).unwrap_or_default(),
        omit_stages: policy.omit_stages.union(&own).copied().collect(),
        omit_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(policy.omit_managed_fields),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::query::Query;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(&format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n{rules}"
        ))
    }

    #[test]
    fn the_first_rule_that_is_met_decides() {
        let policy = policy(
            "- {level: None, users: [robot], verbs: [watch]}\n\
             - {level: None, userGroups: [quiet], nonResourceURLs: [/healthz*, /version]}\n\
             - {level: Metadata, resources: [{resources: [secrets, 'pods/log', '*/scale', 'nodes/*']}]}\n\
             - {level: Request, resources: [{group: apps, resources: [deployments], resourceNames: [web]}], omitStages: [Panic]}\n\
             - {level: RequestResponse, namespaces: [kube-system, ''], resources: [{group: apps}], omitManagedFields: true}\n\
             - {level: Metadata, nonResourceURLs: ['*']}\n",
        )
        .expect("is a policy");
        let quiet = UserInfo::new("jane", &["quiet"]);
        let robot = UserInfo::new("robot", &[]);
        for (method, path, user, expected) in [
            (Method::GET, "/api/v1/pods?watch=1", Some(&robot), Level::None),
            (Method::GET, "/healthz/ping", Some(&quiet), Level::None),
            (Method::GET, "/healthz/ping", Some(&robot), Level::Metadata),
            (Method::GET, "/healthz/ping", None, Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/secrets/s", Some(&quiet), Level::Metadata),
            (Method::GET, "/api/v1/namespaces/a/pods/p", Some(&quiet), Level::None),
            (Method::GET, "/api/v1/namespaces/a/pods/p/log", Some(&quiet), Level::Metadata),
            (Method::GET, "/api/v1/nodes/n", Some(&quiet), Level::Metadata),
            (Method::GET, "/api/v1/nodes/n/status", Some(&quiet), Level::Metadata),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/web/scale", Some(&quiet), Level::None),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/web", Some(&quiet), Level::Request),
            (Method::GET, "/apis/apps/v1/namespaces/a/deployments/other", Some(&quiet), Level::None),
            (Method::GET, "/apis/apps/v1/namespaces/kube-system/deployments", Some(&quiet), Level::RequestResponse),
            (Method::GET, "/apis/apps/v1/deployments", Some(&quiet), Level::RequestResponse),
        ] {
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let info = RequestInfo::parse(&method, path, &Query::parse(query));
            assert_eq!(decide(&policy, &info, user).level, expected, "{path} {user:?}");
        }
        let info = |path: &str| RequestInfo::parse(&Method::GET, path, &Query::default());
        let web = decide(&policy, &info("/apis/apps/v1/namespaces/a/deployments/web"), Some(&quiet));
        assert_eq!(web.omit_stages, BTreeSet::from([Stage::RequestReceived, Stage::Panic]));
        assert!(
            !web.omit_managed_fields && decide(&policy, &info("/apis/apps/v1/deployments"), None).omit_managed_fields
        );
    }

    #[test]
    fn policies_are_checked() {
        for (rules, why) in [
            (" []", "loaded illegal policy with 0 rules"),
            (
                "- {level: None, nonResourceURLs: [version]}",
                "rules[0].nonResourceURLs[0]: Invalid value: \"version\": non-resource URL rules must begin with a '/' character",
            ),
            (
                "- {level: None, nonResourceURLs: ['/a*b']}",
                "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
            ),
            (
                "- {level: None, nonResourceURLs: ['*'], namespaces: [a]}",
                "rules[0].nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs",
            ),
            (
                "- {level: None, resources: [{resourceNames: [a]}]}",
                "rules[0].resources.resourceNames: using resourceNames requires at least one resource",
            ),
        ] {
            assert_eq!(policy(rules).expect_err("is wrong"), why);
        }
        for wrong in ["- {level: Loud}", "- {}", "- {level: None, omitStages: [Later]}"] {
            assert!(policy(wrong).is_err_and(|why| why.starts_with("failed decoding: ")), "{wrong}");
        }
        assert!(Policy::parse("apiVersion: v1\nkind: Policy\nrules: [{level: None}]").is_err());
    }
}
