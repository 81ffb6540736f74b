//! Group versions that other API servers answer: where their requests go, and how discovery and OpenAPI name them beside what is served here.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http::{Request, Response};
use parking_lot::RwLock;
use serde_json::Value;

use crate::{
    catalog::{Catalog, GroupVersions, version_order},
    request_info::RequestInfo,
    server::Body,
    user::UserInfo,
};

/// How groups and versions that nobody registered rank: those of custom resources.
const UNREGISTERED: Priority = Priority { group: 1000, version: 100 };

/// Another API server.
#[async_trait]
pub trait Delegate: Send + Sync + 'static {
    /// Passes a request on that `user` may make. What fails is an answer too.
    async fn proxy(&self, request: Request<Body>, user: &UserInfo) -> Response<Body>;

    /// The same for its OpenAPI documents, which the server asks for in its own name.
    async fn openapi(&self, request: Request<Body>) -> Response<Body>;
}

/// How a group version ranks in discovery; the highest come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// `groupPriorityMinimum`: the highest of a group's versions counts.
    pub group: i64,
    pub version: i64,
}

/// A group version that another API server answers.
#[derive(Clone)]
pub struct Delegated {
    pub delegate: Arc<dyn Delegate>,
    /// Its entry in aggregated discovery (an `APIVersionDiscovery`).
    pub discovery: Arc<Value>,
    /// What its OpenAPI document is known by; `None` if it has none.
    pub openapi: Option<String>,
}

type Key = (String, String);

#[derive(Default)]
struct State {
    /// Of all registered group versions, those that are served here included.
    priorities: BTreeMap<Key, Priority>,
    delegated: BTreeMap<Key, Delegated>,
}

/// All group versions that others answer.
#[derive(Default)]
pub struct Aggregation(RwLock<State>);

fn key(group: &str, version: &str) -> Key {
    (group.to_owned(), version.to_owned())
}

impl Aggregation {
    /// Ranks a group version; with who answers it, if it is not this server.
    pub fn register(&self, group: &str, version: &str, priority: Priority, delegated: Option<Delegated>) {
        let mut state = self.0.write();
        state.priorities.insert(key(group, version), priority);
        match delegated {
            Some(delegated) => drop(state.delegated.insert(key(group, version), delegated)),
            None => drop(state.delegated.remove(&key(group, version))),
        }
    }

    pub fn unregister(&self, group: &str, version: &str) {
        let mut state = self.0.write();
        state.priorities.remove(&key(group, version));
        state.delegated.remove(&key(group, version));
    }

    /// Who answers this group version, if it is not this server.
    pub fn find(&self, group: &str, version: &str) -> Option<Delegated> {
        self.0.read().delegated.get(&key(group, version)).cloned()
    }

    /// Who answers this request, if it is not this server.
    pub(crate) fn of_request(&self, info: &RequestInfo) -> Option<Arc<dyn Delegate>> {
        if self.0.read().delegated.is_empty() {
            return None;
        }
        let (group, version) = match info.is_resource {
            true => (info.group.as_str(), info.version.as_str()),
            false => match info.path.trim_matches('/').split('/').collect::<Vec<_>>().as_slice() {
                ["api", version] => ("", *version),
                ["apis", group, version] => (*group, *version),
                _ => return None,
            },
        };
        self.find(group, version).map(|delegated| delegated.delegate)
    }

    /// The group versions that others answer, with what their OpenAPI documents are known by.
    pub(crate) fn documents(&self) -> Vec<(String, String, Option<String>)> {
        let state = self.0.read();
        state.delegated.iter().map(|((g, v), of)| (g.clone(), v.clone(), of.openapi.clone())).collect()
    }

    /// All groups in discovery's order, the preferred version of each first. What is served here keeps its order; the others come where their
    /// priorities put them.
    pub(crate) fn groups(&self, catalog: &Catalog) -> Vec<GroupVersions> {
        let state = self.0.read();
        let mut groups = catalog.groups();
        let mut others: Vec<&Key> = state.delegated.keys().collect();
        others.sort_by_key(|(group, version)| {
            (-state.group_priority(group), group, -state.priority(group, version).version, version_order(version))
        });
        for (group, version) in others {
            let rank = (-state.group_priority(group), group.as_str());
            let at = groups.iter().position(|g| g.group == *group).unwrap_or_else(|| {
                // The core group has a list of its own.
                let after = |g: &GroupVersions| {
                    !g.group.is_empty() && (-state.group_priority(&g.group), g.group.as_str()) > rank
                };
                let at = groups.iter().position(after).unwrap_or(groups.len());
                groups.insert(at, GroupVersions { group: group.clone(), versions: Vec::new() });
                at
            });
            let versions = &mut groups[at].versions;
            if !versions.contains(version) {
                let own = state.priority(group, version).version;
                let lower = |v: &String| state.priority(group, v).version < own;
                let at = versions.iter().position(lower).unwrap_or(versions.len());
                versions.insert(at, version.clone());
            }
        }
        groups
    }
}

impl State {
    fn priority(&self, group: &str, version: &str) -> Priority {
        self.priorities.get(&key(group, version)).copied().unwrap_or(UNREGISTERED)
    }

    fn group_priority(&self, group: &str) -> i64 {
        let versions = self.priorities.range(key(group, "")..).take_while(|((g, _), _)| g == group);
        versions.map(|(_, priority)| priority.group).max().unwrap_or(UNREGISTERED.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    #[async_trait]
    impl Delegate for Nobody {
        async fn proxy(&self, _: Request<Body>, _: &UserInfo) -> Response<Body> {
            crate::respond::text(http::StatusCode::NOT_FOUND, "")
        }

        async fn openapi(&self, request: Request<Body>) -> Response<Body> {
            self.proxy(request, &UserInfo::default()).await
        }
    }

    #[test]
    fn groups_stand_where_their_priorities_put_them() {
        let aggregation = Aggregation::default();
        for (group, version, group_priority, version_priority) in [
            ("low.io", "v1", 100, 10),
            ("high.io", "v1beta1", 2000, 10),
            ("high.io", "v1", 1500, 20),
            ("same.io", "v1", 1000, 10),
        ] {
            let priority = Priority { group: group_priority, version: version_priority };
            let delegated = Delegated { delegate: Arc::new(Nobody), discovery: Arc::default(), openapi: None };
            aggregation.register(group, version, priority, Some(delegated));
        }
        let shown = |aggregation: &Aggregation| {
            let groups = aggregation.groups(&Catalog::default());
            groups.iter().map(|g| format!("{}:{}", g.group, g.versions.join(","))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&aggregation), "high.io:v1,v1beta1 same.io:v1 low.io:v1");
        let info = |path: &str| RequestInfo::parse(&http::Method::GET, path, &crate::query::Query::default());
        for (path, known) in [
            ("/apis/low.io/v1/things", true),
            ("/apis/low.io/v1", true),
            ("/apis/low.io/v1/", true),
            ("/apis/low.io", false),
            ("/apis/low.io/v2/things", false),
            ("/api/v1/pods", false),
        ] {
            assert_eq!(aggregation.of_request(&info(path)).is_some(), known, "{path}");
        }
        aggregation.unregister("high.io", "v1beta1");
        aggregation.register("low.io", "v1", Priority { group: 100, version: 10 }, None);
        assert_eq!(shown(&aggregation), "high.io:v1 same.io:v1");
    }
}
