//! Objects that pods refer to, read from the API when a pod needs them, and service account tokens.

use crate::pod::PodExt;
use api_types::k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use api_types::k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use api_types::k8s_openapi::jiff::Timestamp;
use component_base::clock;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The API refused, or could not be reached.
    #[error("{0}")]
    Api(String),
    /// There is no API server.
    #[error("{kind} {namespace}/{name}: this kubelet runs without an API server")]
    Standalone {
        /// What was wanted.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl From<kube::Error> for ObjectError {
    fn from(error: kube::Error) -> Self {
        match error {
            // The server's own message, as client-go shows it.
            kube::Error::Api(status) => Self::Api(status.message.clone()),
            other => Self::Api(other.to_string()),
        }
    }
}

/// A token is asked for with the same of these only once.
type TokenKey = (String, String, String, String, i64);

#[derive(Clone)]
struct Token {
    value: String,
    /// When a new one is asked for.
    refresh: Timestamp,
    expires: Timestamp,
}

/// Reads objects for pods.
pub(crate) struct Objects {
    client: Option<kube::Client>,
    tokens: Mutex<BTreeMap<TokenKey, Token>>,
}

/// A token is renewed when this part of its life is over, and once a day at least.
const REFRESH_AT: f64 = 0.8;
const MAX_AGE_SECONDS: i64 = 24 * 3600;

impl Objects {
    /// Reads through `client`.
    pub(crate) fn new(client: Option<kube::Client>) -> Self {
        Self { client, tokens: Mutex::default() }
    }

    fn client(&self, kind: &'static str, namespace: &str, name: &str) -> Result<kube::Client, ObjectError> {
        let standalone = || ObjectError::Standalone { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        self.client.clone().ok_or_else(standalone)
    }

    /// A ConfigMap; none when there is none.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ObjectError> {
        let client = self.client("configmap", namespace, name)?;
        Ok(Api::namespaced(client, namespace).get_opt(name).await?)
    }

    /// A Secret; none when there is none.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ObjectError> {
        let client = self.client("secret", namespace, name)?;
        Ok(Api::namespaced(client, namespace).get_opt(name).await?)
    }

    /// A token of the pod's service account, bound to the pod; the same until it is due for renewal.
    pub(crate) async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<String, ObjectError> {
        let account = pod.spec().service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let key = (pod.pod_uid().to_owned(), pod.ns().to_owned(), account.to_owned(), audience.to_owned(), seconds);
        let now = clock::now();
        let cached = self.tokens.lock().get(&key).cloned();
        if let Some(token) = cached.clone().filter(|token| now < token.refresh) {
            return Ok(token.value);
        }
        match self.request_token(pod, account, audience, seconds).await {
            Ok(token) => {
                self.tokens.lock().insert(key, token.clone());
                Ok(token.value)
            }
            // The old one still serves while the API server is away.
            Err(error) => match cached.filter(|token| now < token.expires) {
                Some(token) => {
                    tracing::warn!(pod = %pod.key(), %error, "could not renew the service account token");
                    Ok(token.value)
                }
                None => Err(error),
            },
        }
    }

    async fn request_token(
        &self,
        pod: &Pod,
        account: &str,
        audience: &str,
        seconds: i64,
    ) -> Result<Token, ObjectError> {
        let client = self.client("serviceaccount", pod.ns(), account)?;
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                // Required, and empty for the API server's own audience.
                audiences: Some(
                    Some(audience.to_owned()).filter(|audience| !audience.is_empty()).into_iter().collect(),
                ),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(pod.pod_name().to_owned()),
                    uid: Some(pod.pod_uid().to_owned()),
                }),
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(client, pod.ns());
        let answer = api.create_token_request(account, &PostParams::default(), &request).await?;
        let status = answer.status.and_then(|status| Some((status.token?, status.expiration_timestamp?.0)));
        let none = || ObjectError::Api("the API server answered a token request without a token".into());
        let (value, expires) = status.ok_or_else(none)?;
        let now = clock::now();
        let life = expires.as_second() - now.as_second();
        let age = ((life as f64 * REFRESH_AT) as i64).min(MAX_AGE_SECONDS);
        let refresh = Timestamp::from_second(now.as_second() + age).unwrap_or(expires);
        Ok(Token { value, refresh, expires })
    }

    /// Forgets what was kept for a pod.
    pub(crate) fn forget(&self, uid: &str) {
        self.tokens.lock().retain(|key, _| key.0 != uid);
    }
}
