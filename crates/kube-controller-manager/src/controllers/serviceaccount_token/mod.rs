//! Fills token secrets of service accounts (type `kubernetes.io/service-account-token`) with a signed token, and removes those whose
//! account is gone.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use controller_runtime::{Action, BoxError, ObjectKey, Outcome, Selection, Store, WorkQueue};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde_json::json;

use crate::context::Context;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const ISSUER: &str = "kubernetes/serviceaccount";

struct Tokens {
    client: Client,
    accounts: Store<ServiceAccount>,
    secrets: Store<Secret>,
    key: EncodingKey,
    algorithm: Algorithm,
    root_ca: Option<String>,
}

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let config = &context.shared.config;
    let Some(pem) = &config.service_account_key else {
        tracing::info!("no --service-account-private-key-file: token secrets are not filled");
        return Ok(());
    };
    let (key, algorithm) = signing_key(pem)?;
    let queue = WorkQueue::new();
    let accounts = context.informer::<ServiceAccount>();
    let secrets = context.informer_of::<Secret>(Selection::default().fields(&format!("type={TYPE}")));
    secrets.enqueue_to(&queue);
    let (all, on_account) = (secrets.store().clone(), queue.clone());
    accounts.on_event(move |event| {
        let account = event.object();
        if event.old().is_some() && !event.is_deleted() {
            return;
        }
        let named = |secret: &Secret| secret.annotations().get(ACCOUNT_NAME) == Some(&account.name_any());
        let own = all.list_in(&account.namespace().unwrap_or_default());
        own.iter().filter(|secret| named(secret)).for_each(|secret| on_account.add(ObjectKey::of(secret.as_ref())));
    });
    let tokens = Arc::new(Tokens {
        client: context.client.clone(),
        accounts: accounts.store().clone(),
        secrets: secrets.store().clone(),
        key,
        algorithm,
        root_ca: config.root_ca.clone(),
    });
    context.run(&queue, move |key| tokens.clone().reconcile(key));
    Ok(())
}

fn signing_key(pem: &str) -> Result<(EncodingKey, Algorithm), BoxError> {
    match EncodingKey::from_rsa_pem(pem.as_bytes()) {
        Ok(key) => Ok((key, Algorithm::RS256)),
        Err(_) => Ok((EncodingKey::from_ec_pem(pem.as_bytes())?, Algorithm::ES256)),
    }
}

impl Tokens {
    async fn reconcile(self: Arc<Self>, key: ObjectKey) -> Outcome {
        let Some(secret) = self.secrets.get(&key) else { return Ok(Action::Done) };
        let name = secret.annotations().get(ACCOUNT_NAME).cloned().unwrap_or_default();
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.namespace);
        let account = match self.accounts.get_in(&key.namespace, &name) {
            Some(account) => Some(account.as_ref().clone()),
            // The store may be behind; a secret is removed only on the API server's word.
            None => accounts.get_opt(&name).await?,
        };
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        let known = secret.annotations().get(ACCOUNT_UID);
        let Some(account) = account.filter(|account| known.is_none() || known == account.metadata.uid.as_ref()) else {
            let preconditions = Preconditions { uid: secret.uid(), resource_version: secret.resource_version() };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            return match api.delete(&key.name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Done),
                result => result.map(|_| Action::Done).map_err(Into::into),
            };
        };
        let token = || self.token(&secret, &account);
        if let Some(filled) = filled(&secret, &account, self.root_ca.as_deref(), token)? {
            api.replace(&key.name, &PostParams::default(), &filled).await?;
        }
        Ok(Action::Done)
    }

    fn token(&self, secret: &Secret, account: &ServiceAccount) -> Result<String, BoxError> {
        let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
        let claims = json!({
            "iss": ISSUER,
            "kubernetes.io/serviceaccount/namespace": namespace,
            "kubernetes.io/serviceaccount/secret.name": secret.name_any(),
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": account.uid(),
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        Ok(jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.key)?)
    }
}

/// The secret with what it lacks; none when it lacks nothing.
fn filled(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: Option<&str>,
    token: impl FnOnce() -> Result<String, BoxError>,
) -> Result<Option<Secret>, BoxError> {
    let mut filled = secret.clone();
    let data = filled.data.get_or_insert_with(BTreeMap::new);
    let mut put = |key: &str, value: &[u8]| {
        data.insert(key.to_owned(), ByteString(value.to_vec()));
    };
    if let Some(ca) = root_ca {
        put("ca.crt", ca.as_bytes());
    }
    put("namespace", account.namespace().unwrap_or_default().as_bytes());
    if data.get("token").is_none_or(|token| token.0.is_empty()) {
        data.insert("token".to_owned(), ByteString(token()?.into_bytes()));
    }
    filled.annotations_mut().insert(ACCOUNT_UID.to_owned(), account.uid().unwrap_or_default());
    Ok((filled != *secret).then_some(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filled_once() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"name": "a", "namespace": "ns", "uid": "u"}})).unwrap();
        let secret = Secret::default();
        let full = filled(&secret, &account, Some("ca"), || Ok("t".into())).unwrap().unwrap();
        let data = full.data.clone().unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        assert_eq!((text("token"), text("namespace"), text("ca.crt")), ("t".into(), "ns".into(), "ca".into()));
        assert_eq!(full.annotations()[ACCOUNT_UID], "u");
        assert_eq!(filled(&full, &account, Some("ca"), || panic!("signed again")).unwrap(), None);
        assert!(filled(&full, &account, Some("new"), || panic!("signed again")).unwrap().is_some());
    }
}
