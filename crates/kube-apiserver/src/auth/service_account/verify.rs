//! A service account token is good while everything that it names is still there: the account, and the pod, secret or
//! node that it is bound to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use apiserver::{authn::AuthenticationError, user::UserInfo};
use async_trait::async_trait;
use component_base::clock;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Pod, Secret, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use parking_lot::Mutex;

use super::{
    IssuerConfig, VerificationKeys,
    claims::{Claims, LEGACY_ISSUER, Private, Reference},
    user_name,
};
use crate::auth::{
    authenticate::{TokenAuthenticator, TokenIdentity},
    loopback::Loopback,
};

/// A good token is not checked again for so long.
const REMEMBER_SECONDS: i64 = 10;
/// More tokens than this are not remembered.
const REMEMBER: usize = 4_096;
/// A pod that is being deleted may use its token for so long after its grace period.
const LINGER_SECONDS: i64 = 60;

pub(crate) struct ServiceAccountTokens {
    config: IssuerConfig,
    keys: Arc<VerificationKeys>,
    objects: Loopback,
    good: Mutex<HashMap<String, Good>>,
}

/// A token that was found good a moment ago.
#[derive(Clone)]
struct Good {
    claims: Arc<Claims>,
    user: UserInfo,
    until: i64,
}

type Checked<T> = Result<T, String>;

// === impl ServiceAccountTokens ===

impl ServiceAccountTokens {
    pub(crate) fn new(config: IssuerConfig, keys: Arc<VerificationKeys>, objects: Loopback) -> Self {
        Self { config, keys, objects, good: Mutex::default() }
    }

    /// The token as it was found a moment ago.
    fn known(&self, token: &str, now: i64) -> Option<Good> {
        self.good.lock().get(token).filter(|good| now < good.until).cloned()
    }

    /// Who the token is, which says `claims`.
    async fn check(&self, token: &str, claims: Claims, now: i64) -> Checked<Good> {
        let user = match claims.iss.as_str() {
            LEGACY_ISSUER => self.legacy(token, &claims, now).await?,
            _ => self.bound(&claims, now).await?,
        };
        let found = Good { claims: Arc::new(claims), user, until: now + REMEMBER_SECONDS };
        let mut good = self.good.lock();
        if good.len() >= REMEMBER {
            good.clear();
        }
        good.insert(token.to_owned(), found.clone());
        Ok(found)
    }

    /// Those of `audiences` that the token is meant for.
    fn audiences(&self, claims: &Claims, audiences: &[String]) -> Result<Vec<String>, AuthenticationError> {
        // Tokens in Secrets are from before audiences: they are meant for the API server.
        let meant_for = if claims.iss == LEGACY_ISSUER { &self.config.audiences } else { &claims.aud };
        let matching: Vec<_> = audiences.iter().filter(|audience| meant_for.contains(audience)).cloned().collect();
        if matching.is_empty() {
            let message = format!("token audiences {meant_for:?} is invalid for the target audiences {audiences:?}");
            return Err(AuthenticationError(message));
        }
        Ok(matching)
    }

    async fn bound(&self, claims: &Claims, now: i64) -> Checked<UserInfo> {
        if now < claims.nbf {
            return Err("not valid yet".into());
        }
        if now >= claims.exp {
            return Err("service account token has expired".into());
        }
        let private = &claims.kubernetes;
        let account = &private.serviceaccount;
        if claims.sub != user_name(&private.namespace, &account.name) {
            return Err("the subject is not the service account".into());
        }
        self.account(&private.namespace, account, now).await?;
        if let Some(secret) = &private.secret {
            let stored: Option<Secret> = self.objects.get_in(&private.namespace, &secret.name).await?;
            same(stored.map(|it| it.metadata), secret, "secret", now)?;
        }
        if let Some(pod) = &private.pod {
            let stored: Option<Pod> = self.objects.get_in(&private.namespace, &pod.name).await?;
            same(stored.map(|it| it.metadata), pod, "pod", now)?;
        } else if let Some(node) = &private.node {
            let stored: Option<Node> = self.objects.get(&node.name).await?;
            same(stored.map(|it| it.metadata), node, "node", now)?;
        }
        Ok(user(&private.namespace, account, extra(&claims.jti, private)))
    }

    async fn legacy(&self, token: &str, claims: &Claims, now: i64) -> Checked<UserInfo> {
        let legacy = &claims.legacy;
        let account = Reference { name: legacy.account.clone(), uid: legacy.uid.clone() };
        if claims.sub != user_name(&legacy.namespace, &legacy.account) {
            return Err("the subject is not the service account".into());
        }
        self.account(&legacy.namespace, &account, now).await?;
        let stored: Option<Secret> = self.objects.get_in(&legacy.namespace, &legacy.secret).await?;
        let stored = stored.filter(|secret| secret.metadata.deletion_timestamp.is_none());
        let data = stored.and_then(|secret| secret.data?.remove("token"));
        if data.is_none_or(|data| data.0 != token.as_bytes()) {
            return Err("token has been invalidated".into());
        }
        Ok(user(&legacy.namespace, &account, BTreeMap::new()))
    }

    async fn account(&self, namespace: &str, account: &Reference, now: i64) -> Checked<()> {
        let stored: Option<ServiceAccount> = self.objects.get_in(namespace, &account.name).await?;
        same(stored.map(|it| it.metadata), account, "service account", now)
    }
}

/// Whether the object is the one that was meant, and not about to go.
fn same(stored: Option<ObjectMeta>, meant: &Reference, kind: &str, now: i64) -> Checked<()> {
    let name = &meant.name;
    let Some(stored) = stored else { return Err(format!("{kind} {name} does not exist")) };
    if stored.uid.as_deref() != Some(&meant.uid) {
        return Err(format!("{kind} {name} is another one now: its UID has changed"));
    }
    let deleted = stored.deletion_timestamp.map(|at| at.0.as_second() + LINGER_SECONDS);
    match deleted {
        Some(end) if end < now => Err(format!("{kind} {name} is being deleted")),
        _ => Ok(()),
    }
}

fn user(namespace: &str, account: &Reference, extra: BTreeMap<String, Vec<String>>) -> UserInfo {
    UserInfo {
        name: user_name(namespace, &account.name),
        uid: account.uid.clone(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        extra,
    }
}

fn extra(id: &str, private: &Private) -> BTreeMap<String, Vec<String>> {
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if !id.is_empty() {
        add("credential-id", &format!("JTI={id}"));
    }
    for (reference, name, uid) in [(&private.pod, "pod-name", "pod-uid"), (&private.node, "node-name", "node-uid")] {
        if let Some(reference) = reference {
            add(name, &reference.name);
            add(uid, &reference.uid);
        }
    }
    extra
}

#[async_trait]
impl TokenAuthenticator for ServiceAccountTokens {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let now = clock::now().as_second();
        if let Some(Good { claims, user, .. }) = self.known(token, now) {
            let audiences = self.audiences(&claims, audiences)?;
            return Ok(Some(TokenIdentity { user, audiences }));
        }
        let Some(claims) = self.keys.verify(token) else { return Ok(None) };
        if claims.iss != LEGACY_ISSUER && !self.config.issuers.contains(&claims.iss) {
            return Ok(None);
        }
        let audiences = self.audiences(&claims, audiences)?;
        let Good { claims, user, .. } = self
            .check(token, claims, now)
            .await
            .map_err(|why| AuthenticationError(format!("invalid bearer token, {why}")))?;
        if claims.kubernetes.warnafter.is_some_and(|after| now > after) {
            let until = Timestamp::from_second(claims.exp).map(|at| at.to_string()).unwrap_or_default();
            tracing::warn!(subject = %claims.sub, %until, "a service account token is used on borrowed time");
        }
        Ok(Some(TokenIdentity { user, audiences }))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn an_object_must_be_the_same_and_stay() {
        let meant = Reference { name: "x".into(), uid: "1".into() };
        let stored = |uid: &str, deleted: Option<i64>| {
            let deletion_timestamp = deleted.map(|at| Time(Timestamp::from_second(at).unwrap()));
            Some(ObjectMeta { uid: Some(uid.into()), deletion_timestamp, ..ObjectMeta::default() })
        };
        assert!(same(stored("1", None), &meant, "pod", 1000).is_ok());
        assert!(same(stored("1", Some(990)), &meant, "pod", 1000).is_ok());
        assert!(same(stored("1", Some(900)), &meant, "pod", 1000).is_err());
        assert!(same(stored("2", None), &meant, "pod", 1000).is_err());
        assert!(same(None, &meant, "pod", 1000).is_err());
    }

    #[test]
    fn what_a_token_is_bound_to_is_told() {
        let reference = |name: &str| Some(Reference { name: name.into(), uid: format!("{name}-uid") });
        let private = Private { pod: reference("p"), node: reference("n"), ..Private::default() };
        let extra = extra("id", &private);
        assert_eq!(extra["authentication.kubernetes.io/credential-id"], ["JTI=id"]);
        assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(extra["authentication.kubernetes.io/node-uid"], ["n-uid"]);
    }
}
