//! Service account tokens: signed statements of this server (JWT, RFC 7519) about who a pod is.
//!
//! [`keys`] signs and verifies, [`claims`] says what stands in a token, [`verify`] checks a token against the live objects
//! that it is bound to, [`request`] issues one (the `token` subresource), [`discovery`] lets others verify them.

mod claims;
mod discovery;
mod keys;
mod request;
mod verify;

use std::time::Duration;

pub(crate) use discovery::Discovery;
pub(crate) use keys::{SigningKey, VerificationKeys};
pub(crate) use request::MAX_EXPIRATION;
pub use request::TokenRequests;
pub(crate) use verify::ServiceAccountTokens;

/// Who issues tokens and for whom.
#[derive(Clone, Debug, Default)]
pub struct IssuerConfig {
    /// `--service-account-issuer`: the first issues, all are accepted.
    pub issuers: Vec<String>,
    /// `--api-audiences`; what tokens are for unless they are asked for something else.
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration`.
    pub max_expiration: Option<Duration>,
    /// `--service-account-extend-token-expiration`.
    pub extend_expiration: bool,
    /// `--service-account-jwks-uri`.
    pub jwks_uri: String,
}

/// The user name of a service account.
fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
