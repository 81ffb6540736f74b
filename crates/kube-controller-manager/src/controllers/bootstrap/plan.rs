//! What token secrets say, and the signatures on cluster-info. Pure.

use api_types::k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

/// The type of token secrets.
pub(super) const TYPE: &str = "bootstrap.kubernetes.io/token";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

fn field(secret: &Secret, name: &str) -> Option<String> {
    let bytes = &secret.data.as_ref()?.get(name)?.0;
    String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty())
}

/// Seconds until the token expires; none for tokens that do not. An expiration that cannot be read has passed.
pub(super) fn expires_in(secret: &Secret, now: Timestamp) -> Option<i64> {
    if secret.type_.as_deref() != Some(TYPE) {
        return None;
    }
    let text = field(secret, "expiration")?;
    let at = text.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    Some(at - now.as_second())
}

/// Id and secret of a token that may sign.
pub(super) fn signing_token(secret: &Secret, now: Timestamp) -> Option<(String, String)> {
    let usable = field(secret, "usage-bootstrap-signing").as_deref() == Some("true");
    let alive = expires_in(secret, now).is_none_or(|seconds| seconds > 0);
    let id = field(secret, "token-id")?;
    let named = secret.metadata.name.as_deref() == Some(format!("bootstrap-token-{id}").as_str());
    (usable && alive && named && secret.type_.as_deref() == Some(TYPE)).then_some((id, field(secret, "token-secret")?))
}

/// The map with a signature by each token, and without others.
pub(super) fn signed(map: &ConfigMap, tokens: &[(String, String)]) -> ConfigMap {
    let mut map = map.clone();
    let Some(data) = &mut map.data else { return map };
    let Some(content) = data.get(KUBECONFIG).cloned() else { return map };
    data.retain(|key, _| !key.starts_with(SIGNATURE_PREFIX));
    for (id, secret) in tokens {
        data.insert(format!("{SIGNATURE_PREFIX}{id}"), signature(&content, id, secret));
    }
    map
}

/// A JSON Web Signature with detached content (RFC 7515, appendix F).
pub(super) fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(serde_json::json!({"alg": "HS256", "kid": id}).to_string());
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{id}.{secret}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes())))
}
