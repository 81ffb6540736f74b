//! An OpenID provider: where it publishes its keys (OpenID Connect Discovery 1.0), and the keys.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, crypto, jwk::Jwk};
use parking_lot::RwLock;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::Claims;
use crate::https;

const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// How long the provider may take for a document, and how long that may be.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_DOCUMENT: usize = 1 << 20;
/// Keys are not read again more often than this, however many tokens name unknown ones.
const PAUSE: Duration = Duration::from_secs(1);

/// A provider, its keys read as they are needed.
pub(crate) struct Provider {
    issuer: String,
    discovery_url: String,
    http: https::Client<Full<Bytes>>,
    keys: RwLock<Vec<Key>>,
    /// When the keys were last asked for. Held while they are.
    asked: Mutex<Option<Instant>>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

// === impl Provider ===

impl Provider {
    /// `discovery_url` is empty where the documents are below the issuer's own URL; `authority` (PEM) where the system's
    /// certificates speak for it.
    ///
    /// # Errors
    /// An authority that is none.
    pub(crate) fn new(issuer: &str, discovery_url: &str, authority: &[u8]) -> Result<Self, String> {
        let discovery_url = match discovery_url {
            "" => format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/')),
            url => url.to_owned(),
        };
        let tls = https::verifying(https::trusted(authority)?)?.with_no_client_auth();
        let http = https::client(https::connector(None, tls));
        Ok(Self { issuer: issuer.to_owned(), discovery_url, http, keys: RwLock::default(), asked: Mutex::default() })
    }

    /// Whether the claims say that a token is this provider's.
    pub(super) fn issued(&self, claims: &Claims) -> bool {
        claims.get("iss").and_then(Value::as_str) == Some(&self.issuer)
    }

    /// Whether one of the provider's keys signed the token.
    pub(super) async fn verify(&self, token: &str, header: &Header) -> Result<(), String> {
        if self.is_signed(token, header) {
            return Ok(());
        }
        let before = Instant::now();
        let mut asked = self.asked.lock().await;
        // Who waited for somebody else's question has its answer.
        if asked.is_none_or(|at| at + PAUSE <= before) {
            *asked = Some(Instant::now());
            *self.keys.write() = self.read_keys().await?;
        }
        drop(asked);
        match self.is_signed(token, header) {
            true => Ok(()),
            false => Err("failed to verify id token signature".to_owned()),
        }
    }

    fn is_signed(&self, token: &str, header: &Header) -> bool {
        let Some((message, signature)) = token.rsplit_once('.') else { return false };
        let keys = self.keys.read();
        let mut candidates = keys.iter().filter(|key| header.kid.is_none() || key.id == header.kid);
        candidates.any(|key| signs(&key.key, header.alg, message, signature))
    }

    async fn read_keys(&self) -> Result<Vec<Key>, String> {
        let discovery = self.document(&self.discovery_url).await?;
        let issuer = discovery["issuer"].as_str().unwrap_or_default();
        if issuer != self.issuer {
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {:?} got {issuer:?}",
                self.issuer
            ));
        }
        let set = self.document(discovery["jwks_uri"].as_str().unwrap_or_default()).await?;
        Ok(set["keys"].as_array().into_iter().flatten().filter_map(key).collect())
    }

    async fn document(&self, url: &str) -> Result<Value, String> {
        let read = tokio::time::timeout(TIMEOUT, self.read(url)).await;
        read.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
            .map_err(|why| format!("Get {url:?}: {why}"))
    }

    async fn read(&self, url: &str) -> Result<Value, String> {
        let request = Request::get(url).header(header::ACCEPT, "application/json").body(Full::default());
        let answer = self.http.request(request.map_err(|e| e.to_string())?).await.map_err(|e| https::describe(&e))?;
        if !answer.status().is_success() {
            return Err(answer.status().to_string());
        }
        let body = Limited::new(answer.into_body(), MAX_DOCUMENT).collect().await.map_err(|e| e.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|e| e.to_string())
    }
}

/// A key for signatures; other keys and unknown kinds are passed over.
fn key(jwk: &Value) -> Option<Key> {
    if jwk["use"].as_str().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    let key = DecodingKey::from_jwk(&jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
    Some(Key { id: jwk.common.key_id, key })
}

fn signs(key: &DecodingKey, algorithm: Algorithm, message: &str, signature: &str) -> bool {
    key.family().algorithms().contains(&algorithm)
        && matches!(crypto::verify(signature, message.as_bytes(), key, algorithm), Ok(true))
}
