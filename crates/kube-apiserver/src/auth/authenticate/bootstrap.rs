//! Bootstrap tokens: `ID.SECRET`, backed by Secret `bootstrap-token-ID` in kube-system, for nodes that join.

use apiserver::{authn::AuthenticationError, user::UserInfo};
use async_trait::async_trait;
use component_base::clock;
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest, Sha256};

use super::{TokenAuthenticator, TokenIdentity};
use crate::auth::loopback::Loopback;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

pub(crate) struct BootstrapTokens(pub Loopback);

/// The two parts, if the token has the form.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let valid =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (valid(id, 6) && valid(secret, 16)).then_some((id, secret))
}

/// Who the token of `stored` is; an error says what is wrong with it.
fn identity(stored: &Secret, id: &str, secret: &str) -> Result<UserInfo, String> {
    let field = |name: &str| {
        let bytes = stored.data.as_ref().and_then(|data| data.get(name));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    if stored.metadata.deletion_timestamp.is_some() || stored.type_.as_deref() != Some(TYPE) {
        return Err("its secret is being deleted or has another type".into());
    }
    // Digests are compared, so that the time tells nothing of how much was right.
    let same = Sha256::digest(field("token-secret")) == Sha256::digest(secret);
    if !same || field("token-id") != id {
        return Err("wrong secret".into());
    }
    let expiration = field("expiration");
    if !expiration.is_empty() {
        let until: jiff::Timestamp = expiration.parse().map_err(|_| "its expiration can't be read")?;
        if until <= clock::now() {
            return Err("expired".into());
        }
    }
    if field("usage-bootstrap-authentication") != "true" {
        return Err("not for authentication".into());
    }
    let extra = field("auth-extra-groups");
    let mut groups = vec![GROUP.to_owned()];
    for group in extra.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return Err(format!("group {group:?} is not one for bootstrap tokens"));
        }
        groups.push(group.to_owned());
    }
    Ok(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

#[async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let Some((id, secret)) = parts(token) else { return Ok(None) };
        let wrong = |why: String| AuthenticationError(format!("bootstrap token {id}: {why}"));
        let name = format!("bootstrap-token-{id}");
        let stored: Option<Secret> = self.0.get_in("kube-system", &name).await.map_err(wrong)?;
        let Some(stored) = stored else { return Ok(None) };
        let user = identity(&stored, id, secret).map_err(wrong)?;
        Ok(Some(TokenIdentity { user, audiences: audiences.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(fields: &[(&str, &str)]) -> Secret {
        let data = fields.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { data: Some(data.collect()), type_: Some(TYPE.into()), ..Secret::default() }
    }

    #[test]
    fn identities() {
        let good = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:worker"),
        ];
        let user = identity(&secret(&good), "abcdef", "0123456789abcdef").unwrap();
        assert_eq!(user, UserInfo::new("system:bootstrap:abcdef", &[GROUP, "system:bootstrappers:worker"]));
        for (field, value) in [
            ("token-secret", "another"),
            ("expiration", "2001-01-01T00:00:00Z"),
            ("usage-bootstrap-authentication", "false"),
            ("auth-extra-groups", "system:masters"),
        ] {
            let mut fields = good.to_vec();
            fields.push((field, value));
            assert!(identity(&secret(&fields), "abcdef", "0123456789abcdef").is_err(), "{field}");
        }
    }

    #[test]
    fn forms() {
        assert!(parts("abcdef.0123456789abcdef").is_some());
        for other in ["abcdef", "abcdef.short", "ABCDEF.0123456789abcdef", "a.b.c"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
