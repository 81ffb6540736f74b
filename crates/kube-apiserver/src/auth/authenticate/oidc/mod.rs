//! Tokens of an OpenID provider: verified with the provider's published keys, and turned into a user by the configuration.
//!
//! `--oidc-*` and the `jwt` entries of an `AuthenticationConfiguration` are the same thing here. A provider is asked when its
//! first token comes, and again when a token names a key that is not known.

mod mapping;
mod provider;

use std::time::Duration;

use apiserver::{authn::AuthenticationError, user::UserInfo};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

pub(crate) use mapping::{Claim, ClaimRule, Mapping, UserRule};
pub(crate) use provider::Provider;

use super::{TokenAuthenticator, TokenIdentity};

/// How far the clocks of provider and server may be apart where a token is not valid yet.
const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// The claims of a token.
pub(crate) type Claims = Map<String, Value>;

/// One provider, whose tokens are let in.
pub(crate) struct Oidc {
    pub provider: Provider,
    /// A token must be meant for one of these.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub mapping: Mapping,
}

// === impl Oidc ===

#[async_trait]
impl TokenAuthenticator for Oidc {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let Some(claims) = claims(token).filter(|claims| self.provider.issued(claims)) else { return Ok(None) };
        let user = self.user(token, &claims).await.map_err(|why| AuthenticationError(format!("oidc: {why}")))?;
        Ok(Some(TokenIdentity { user, audiences: audiences.to_vec() }))
    }
}

impl Oidc {
    async fn user(&self, token: &str, claims: &Claims) -> Result<UserInfo, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| format!("malformed jwt: {e}"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!("verify token: id token signed with unsupported algorithm {:?}", header.alg));
        }
        check(claims, &self.audiences, component_base::clock::now().as_second())?;
        self.provider.verify(token, &header).await.map_err(|e| format!("verify token: {e}"))?;
        self.mapping.user(claims)
    }
}

/// What a token claims, whoever made it.
fn claims(token: &str) -> Option<Claims> {
    let (message, _) = token.rsplit_once('.')?;
    let payload = URL_SAFE_NO_PAD.decode(message.split_once('.')?.1).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// Whom the token is for, and when it is valid (`now` in seconds since 1970).
fn check(claims: &Claims, audiences: &[String], now: i64) -> Result<(), String> {
    let meant_for: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| meant_for.contains(&audience.as_str())) {
        return Err(format!("verify token: expected audience in {audiences:?} got {meant_for:?}"));
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| seconds as i64);
    match time("exp") {
        None => return Err("verify token: token has no expiry".to_owned()),
        Some(end) if end <= now => return Err("verify token: token is expired".to_owned()),
        Some(_) => {}
    }
    if time("nbf").is_some_and(|begin| begin > now + LEEWAY.as_secs() as i64) {
        return Err("verify token: token is not valid yet".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_for_somebody_and_for_a_while() {
        let good = json!({"aud": ["other", "mine"], "exp": 1000});
        let with = |name: &str, value: Value| {
            let mut claims = good.as_object().unwrap().clone();
            claims.insert(name.to_owned(), value);
            claims
        };
        let ours = ["mine".to_owned()];
        for (claims, now, good) in [
            (with("aud", json!("mine")), 999, true),
            (with("aud", json!(["other", "mine"])), 999, true),
            (with("aud", json!("other")), 999, false),
            (with("aud", Value::Null), 999, false),
            (with("exp", json!(1000)), 1000, false),
            (with("exp", Value::Null), 0, false),
            (with("nbf", json!(600)), 300, true),
            (with("nbf", json!(601)), 300, false),
        ] {
            assert_eq!(check(&claims, &ours, now).is_ok(), good, "{claims:?} at {now}");
        }
    }
}
