//! Authentication: who is it? One authenticator per kind of credential, asked in upstream's order: the front proxy's
//! headers, a client certificate, a bearer token.
//!
//! Wrong credentials of one kind do not hide right ones of another; only when none is right does the request fail.

mod bootstrap;
pub(crate) mod oidc;
mod request_header;
mod token_file;
mod webhook;
mod x509;

use std::sync::Arc;

use apiserver::{
    authn::{AuthenticationError, Authenticator, bearer_token},
    user::UserInfo,
};
use async_trait::async_trait;
use http::request::Parts;

pub(crate) use bootstrap::BootstrapTokens;
pub use request_header::RequestHeaderConfig;
pub(crate) use request_header::RequestHeaders;
pub(crate) use token_file::TokenFile;
pub(crate) use webhook::TokenWebhook;
pub(crate) use x509::{CertificateVerifier, ClientCertificates};

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenIdentity {
    pub user: UserInfo,
    /// Those of the asked audiences that the token is meant for.
    pub audiences: Vec<String>,
}

/// One kind of bearer token.
#[async_trait]
pub(crate) trait TokenAuthenticator: Send + Sync + 'static {
    /// `Ok(None)`: not a token of this kind. An error: it is, and it is not valid (for any of `audiences`).
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError>;
}

#[async_trait]
impl<T: TokenAuthenticator> TokenAuthenticator for Arc<T> {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        T::token(self, token, audiences).await
    }
}

/// A kind of tokens that say nothing about audiences: they are meant for the API server's own.
pub(crate) struct AudienceAgnostic<T> {
    pub tokens: T,
    pub audiences: Vec<String>,
}

#[async_trait]
impl<T: TokenAuthenticator> TokenAuthenticator for AudienceAgnostic<T> {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let own: Vec<String> = audiences.iter().filter(|audience| self.audiences.contains(audience)).cloned().collect();
        if own.is_empty() && !audiences.is_empty() {
            return Ok(None);
        }
        self.tokens.token(token, &own).await
    }
}

/// All kinds of tokens.
pub(crate) struct Tokens {
    pub kinds: Vec<Arc<dyn TokenAuthenticator>>,
    /// What a token must be meant for to be used here.
    pub audiences: Vec<String>,
}

#[async_trait]
impl TokenAuthenticator for Tokens {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let mut wrong = Vec::new();
        for kind in &self.kinds {
            match kind.token(token, audiences).await {
                Ok(Some(identity)) => return Ok(Some(identity)),
                Ok(None) => {}
                Err(error) => wrong.push(error.0),
            }
        }
        if wrong.is_empty() { Ok(None) } else { Err(AuthenticationError(wrong.join("; "))) }
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, AuthenticationError> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        match self.token(token, &self.audiences).await? {
            Some(identity) => Ok(Some(identity.user)),
            None => Err(AuthenticationError("invalid bearer token".into())),
        }
    }
}

/// Asks one after the other.
pub(crate) struct Union(pub Vec<Arc<dyn Authenticator>>);

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, AuthenticationError> {
        let mut wrong = Vec::new();
        for authenticator in &self.0 {
            match authenticator.authenticate(request).await {
                Ok(Some(user)) => return Ok(Some(user)),
                Ok(None) => {}
                Err(error) => wrong.push(error.0),
            }
        }
        if wrong.is_empty() { Ok(None) } else { Err(AuthenticationError(wrong.join("; "))) }
    }
}
