//! Which flow a request belongs to (`flowcontrol.apiserver.k8s.io/v1` FlowSchema; KEP-1040).

use crate::{request_info::RequestInfo, user::UserInfo};

/// What tells the flows of one schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    ByUser,
    ByNamespace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `*` is everybody.
    User(String),
    Group(String),
    /// The name `*` is every account of the namespace.
    ServiceAccount {
        namespace: String,
        name: String,
    },
}

/// Requests for resources. In each list `*` stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    /// `pods` or `nodes/status`.
    pub resources: Vec<String>,
    /// Whether requests that name no namespace match.
    pub cluster_scope: bool,
    pub namespaces: Vec<String>,
}

/// Requests for other paths; a path may end in `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    pub verbs: Vec<String>,
    pub paths: Vec<String>,
}

/// A request matches when its user is one of the subjects and one of the rules holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    pub subjects: Vec<Subject>,
    pub resources: Vec<ResourceRule>,
    pub paths: Vec<PathRule>,
}

/// Where matching requests go, and what tells their flows apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSchema {
    pub name: String,
    pub uid: String,
    /// The priority level.
    pub level: String,
    /// The lowest is asked first; the name decides among equals.
    pub precedence: i32,
    pub distinguisher: Option<Distinguisher>,
    pub rules: Vec<PolicyRule>,
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == word)
}

impl Subject {
    fn covers(&self, user: &UserInfo) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == user.name,
            Subject::Group(name) => name == "*" || user.in_group(name),
            Subject::ServiceAccount { namespace, name } => {
                let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.is_some_and(|(ns, account)| ns == namespace && (name == "*" || name == account))
            }
        }
    }
}

impl ResourceRule {
    fn holds(&self, info: &RequestInfo) -> bool {
        let wanted = if info.subresource.is_empty() {
            info.resource.clone()
        } else {
            format!("{}/{}", info.resource, info.subresource)
        };
        let place = if info.namespace.is_empty() { self.cluster_scope } else { has(&self.namespaces, &info.namespace) };
        place && has(&self.verbs, &info.verb) && has(&self.groups, &info.group) && has(&self.resources, &wanted)
    }
}

impl PathRule {
    fn holds(&self, info: &RequestInfo) -> bool {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => info.path.starts_with(start),
            None => *pattern == info.path,
        };
        has(&self.verbs, &info.verb) && self.paths.iter().any(covers)
    }
}

impl FlowSchema {
    pub(super) fn matches(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.covers(user))
                && if info.is_resource {
                    rule.resources.iter().any(|r| r.holds(info))
                } else {
                    rule.paths.iter().any(|r| r.holds(info))
                }
        })
    }

    /// What the request has in common with the others of its flow.
    pub(super) fn flow<'a>(&self, info: &'a RequestInfo, user: &'a str) -> &'a str {
        match self.distinguisher {
            None => "",
            Some(Distinguisher::ByUser) => user,
            Some(Distinguisher::ByNamespace) => &info.namespace,
        }
    }
}
