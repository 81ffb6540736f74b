//! Who calls a daemon's port, and may they: delegated to the API server, with short-lived caches.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api_types::k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use http::{Response, StatusCode, request::Parts};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Body, text};
use crate::tls::PeerCertificates;

/// How long an answer of the API server holds.
const CACHE_TTL: Duration = Duration::from_secs(10);
/// At most this many answers are kept.
const CACHE_SIZE: usize = 512;

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The caller without credentials.
    pub fn anonymous() -> Self {
        User { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()], ..User::default() }
    }
}

/// What a caller wants: a resource of the API (the kubelet: `nodes/proxy`, ...) or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attributes {
    Resource { verb: String, resource: String, subresource: String, name: String },
    NonResource { verb: String, path: String },
}

impl Attributes {
    /// The request's path and method.
    pub fn non_resource(parts: &Parts) -> Self {
        Self::NonResource { verb: parts.method.as_str().to_ascii_lowercase(), path: parts.uri.path().to_owned() }
    }

    fn describe(&self) -> String {
        match self {
            Self::Resource { verb, resource, subresource, name } => {
                format!("verb={verb}, resource={resource}, subresource(s)=[{subresource}], name={name}")
            }
            Self::NonResource { verb, path } => format!("verb={verb}, path={path}"),
        }
    }
}

/// Authenticates and authorizes the callers of one port.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    /// Whether callers without credentials are `system:anonymous` rather than refused.
    anonymous: bool,
    /// Paths that need no authorization; `/a/*` covers what is below.
    always_allow: Vec<String>,
    tokens: Mutex<Cache<String, Option<User>>>,
    decisions: Mutex<Cache<(User, Attributes), bool>>,
}

impl Guard {
    pub fn new(client: kube::Client, anonymous: bool, always_allow: Vec<String>) -> Self {
        let inner = Inner { client, anonymous, always_allow, tokens: Mutex::default(), decisions: Mutex::default() };
        Guard { inner: Arc::new(inner) }
    }

    /// The caller, if it may do what it wants; else the answer to send (401, 403, or 500 where the API server can't be asked).
    pub async fn check(&self, parts: &Parts, wanted: &Attributes) -> Result<User, Response<Body>> {
        let user = self.authenticate(parts).await?;
        if self.path_is_open(parts.uri.path()) || user.groups.iter().any(|g| g == "system:masters") {
            return Ok(user);
        }
        match self.allowed(&user, wanted).await {
            Ok(true) => Ok(user),
            Ok(false) => {
                Err(text(StatusCode::FORBIDDEN, format!("Forbidden (user={}, {})\n", user.name, wanted.describe())))
            }
            Err(error) => Err(unavailable("authorization", &error)),
        }
    }

    async fn authenticate(&self, parts: &Parts) -> Result<User, Response<Body>> {
        if let Some(subject) = parts.extensions.get::<PeerCertificates>().and_then(PeerCertificates::subject) {
            let mut groups = subject.organizations;
            groups.push("system:authenticated".into());
            return Ok(User { name: subject.common_name, groups, ..User::default() });
        }
        let unauthorized = || text(StatusCode::UNAUTHORIZED, "Unauthorized");
        let Some(token) = bearer_token(parts) else {
            return if self.inner.anonymous { Ok(User::anonymous()) } else { Err(unauthorized()) };
        };
        self.review(token).await.map_err(|e| unavailable("authentication", &e))?.ok_or_else(unauthorized)
    }

    async fn review(&self, token: &str) -> Result<Option<User>, kube::Error> {
        if let Some(known) = self.inner.tokens.lock().get(&token.to_owned()) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let answer = Api::<TokenReview>::all(self.inner.client.clone()).create(&PostParams::default(), &review).await?;
        let status = answer.status.filter(|s| s.authenticated == Some(true));
        let user = status.and_then(|s| s.user).map(|u| User {
            name: u.username.unwrap_or_default(),
            uid: u.uid.unwrap_or_default(),
            groups: u.groups.unwrap_or_default(),
            extra: u.extra.unwrap_or_default(),
        });
        self.inner.tokens.lock().insert(token.to_owned(), user.clone());
        Ok(user)
    }

    async fn allowed(&self, user: &User, wanted: &Attributes) -> Result<bool, kube::Error> {
        let key = (user.clone(), wanted.clone());
        if let Some(known) = self.inner.decisions.lock().get(&key) {
            return Ok(known);
        }
        let review = SubjectAccessReview { spec: access_spec(user, wanted), ..SubjectAccessReview::default() };
        let answer =
            Api::<SubjectAccessReview>::all(self.inner.client.clone()).create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|s| s.allowed && s.denied != Some(true));
        self.inner.decisions.lock().insert(key, allowed);
        Ok(allowed)
    }

    fn path_is_open(&self, path: &str) -> bool {
        self.inner
            .always_allow
            .iter()
            .any(|open| open == path || open.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix)))
    }
}

fn bearer_token(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|t| scheme.eq_ignore_ascii_case("bearer") && !t.is_empty())
}

fn access_spec(user: &User, wanted: &Attributes) -> SubjectAccessReviewSpec {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match wanted.clone() {
        Attributes::NonResource { verb, path } => {
            spec.non_resource_attributes = Some(NonResourceAttributes { path: Some(path), verb: Some(verb) })
        }
        Attributes::Resource { verb, resource, subresource, name } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: Some(verb),
                version: Some("v1".into()),
                resource: Some(resource),
                subresource: Some(subresource),
                name: Some(name),
                ..ResourceAttributes::default()
            });
        }
    }
    spec
}

fn unavailable(step: &str, error: &kube::Error) -> Response<Body> {
    tracing::warn!(%error, step, "the API server could not be asked about a caller");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{step} is unavailable\n"))
}

/// Answers that expire after [`CACHE_TTL`]; emptied when full.
struct Cache<K, V>(BTreeMap<K, (Instant, V)>);

impl<K: Ord, V> Default for Cache<K, V> {
    fn default() -> Self {
        Cache(BTreeMap::new())
    }
}

impl<K: Ord, V: Clone> Cache<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).filter(|(at, _)| at.elapsed() < CACHE_TTL).map(|(_, v)| v.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        if self.0.len() >= CACHE_SIZE {
            self.0.clear();
        }
        self.0.insert(key, (Instant::now(), value));
    }
}
