//! The seam to authorization: may they?

use async_trait::async_trait;

use crate::user::UserInfo;

/// What is asked for. For paths that are no resources only `verb` (lower-case HTTP method) and `path` count.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub user: UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or any verb a review asks about.
    pub verb: String,
    pub namespace: String,
    /// API group, "" for the core group.
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    pub path: String,
    pub is_resource: bool,
    /// The field selector of lists, watches and collection deletions, as sent; empty when there is none.
    pub field_selector: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Refused whatever later authorizers say.
    Deny,
    NoOpinion,
}

/// The answer, and why (shown to the client in the 403 message).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: String,
    /// What went wrong on the way. Who is not allowed then gets a 500.
    pub error: Option<String>,
}

impl Decision {
    pub fn allow(reason: impl Into<String>) -> Self {
        Decision::new(Verdict::Allow, reason)
    }

    pub fn deny(reason: impl Into<String>) -> Self {
        Decision::new(Verdict::Deny, reason)
    }

    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Decision::new(Verdict::NoOpinion, reason)
    }

    fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Decision { verdict, reason: reason.into(), error: None }
    }
}

/// One authorization mode. The chain asks them in order; the first that allows or denies decides.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    async fn authorize(&self, attributes: &Attributes) -> Decision;

    /// The rules that hold for `user` in `namespace`, for SelfSubjectRulesReview: (resource rules, non-resource rules) as
    /// JSON objects of `authorization.k8s.io/v1`, and whether the list is incomplete.
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules { incomplete: true, ..Rules::default() }
    }
}

/// What a user may do in a namespace, see [`Authorizer::rules_for`].
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub resource: Vec<serde_json::Value>,
    pub non_resource: Vec<serde_json::Value>,
    pub incomplete: bool,
}
