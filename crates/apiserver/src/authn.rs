//! The seam to authentication: who is it?

use async_trait::async_trait;
use http::request::Parts;

use crate::user::UserInfo;

/// The certificates that the client presented in the TLS handshake. The handshake proves possession of the key but does not verify the
/// chain: that is the authenticator's part. In the request's extensions; absent when the client sent none.
pub use component_base::tls::PeerCertificates;

/// The address of the client, in the request's extensions (absent on in-memory connections).
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub std::net::SocketAddr);

/// An identity that the transport vouches for (in-memory clients of the same process); in the request's extensions,
/// it is taken before any authenticator is asked.
#[derive(Clone, Debug)]
pub struct TrustedIdentity(pub UserInfo);

/// Whether requests without credentials are served, as `system:anonymous`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anonymous {
    Never,
    Always,
    /// Of these paths alone.
    Paths(Vec<String>),
}

impl Anonymous {
    pub fn may_ask(&self, path: &str) -> bool {
        match self {
            Anonymous::Never => false,
            Anonymous::Always => true,
            Anonymous::Paths(paths) => paths.iter().any(|allowed| allowed == path),
        }
    }
}

/// Credentials were there, and are wrong: answers 401. The text goes to the log, not to the client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthenticationError(pub String);

/// One way of finding out who makes a request.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// `Ok(None)`: the request carries no credentials of this authenticator's form (the next one is asked; after the
    /// last the user is anonymous, if the configuration allows). `system:authenticated` is added by the chain.
    async fn authenticate(&self, request: &Parts) -> Result<Option<UserInfo>, AuthenticationError>;
}

/// The token of `Authorization: Bearer`, or of the WebSocket subprotocol that browsers send it in.
pub fn bearer_token(request: &Parts) -> Option<&str> {
    let value = request.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}
