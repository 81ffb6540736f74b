//! The `token` subresource of service accounts: issues a token, bound to a pod, secret or node if so asked.

use std::{sync::Arc, time::Duration};

use api_types::{ApiError, FieldError, Path};
use component_base::{clock, rng};
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus},
        core::v1::{Node, Pod, Secret, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde_json::Value;

use super::{
    IssuerConfig, SigningKey,
    claims::{Claims, Private, Reference},
    user_name,
};
use crate::auth::loopback::Loopback;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What pods ask for whose clients may not reload tokens: such a token works for a year, and is reported when it is used
/// beyond this.
const EXTENDABLE_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Issues tokens.
pub struct TokenRequests {
    config: IssuerConfig,
    key: Option<Arc<SigningKey>>,
    objects: Loopback,
}

/// What a token is bound to.
#[derive(Default)]
struct Binding {
    pod: Option<Reference>,
    node: Option<Reference>,
    secret: Option<Reference>,
}

// === impl TokenRequests ===

impl TokenRequests {
    pub(crate) fn new(config: IssuerConfig, key: Option<Arc<SigningKey>>, objects: Loopback) -> Self {
        Self { config, key, objects }
    }

    /// Answers `create serviceaccounts/NAME token`: the request with its status filled.
    pub async fn create(&self, namespace: &str, name: &str, body: Value) -> Result<Value, ApiError> {
        let Some(key) = &self.key else {
            return Err(ApiError::not_found("", "serviceaccounts/token", name));
        };
        let mut request: TokenRequest =
            serde_json::from_value(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let spec = request.spec.get_or_insert_default().clone();
        let seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        validate(name, seconds)?;
        let asked = spec.audiences.clone().unwrap_or_default();
        let audiences = if asked.is_empty() { self.config.audiences.clone() } else { asked };
        let account: Option<ServiceAccount> = self.get(namespace, name).await?;
        let account = account.ok_or_else(|| ApiError::not_found("", "serviceaccounts", name))?;
        let binding = match &spec.bound_object_ref {
            Some(reference) => self.bind(namespace, name, reference).await?,
            None => Binding::default(),
        };
        let seconds = self.config.max_expiration.map_or(seconds, |max| seconds.min(max.as_secs() as i64));
        let account = Reference { name: name.to_owned(), uid: account.metadata.uid.unwrap_or_default() };
        let claims = self.claims(namespace, account, binding, audiences.clone(), seconds);
        let expiration = claims.iat + seconds;
        let token =
            key.sign(&claims).map_err(|error| ApiError::internal(format!("failed to generate token: {error}")))?;
        request.metadata.name.get_or_insert_with(|| name.to_owned());
        request.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
        request.metadata.creation_timestamp.get_or_insert(Time(clock::now()));
        request.spec = Some(TokenRequestSpec { audiences: Some(audiences), expiration_seconds: Some(seconds), ..spec });
        let at = jiff::Timestamp::from_second(expiration).map_err(ApiError::internal)?;
        request.status = Some(TokenRequestStatus { expiration_timestamp: Some(Time(at)), token: Some(token) });
        serde_json::to_value(request).map_err(ApiError::internal)
    }

    fn claims(
        &self,
        namespace: &str,
        account: Reference,
        binding: Binding,
        audiences: Vec<String>,
        seconds: i64,
    ) -> Claims {
        let now = clock::now().as_second();
        let extend = self.config.extend_expiration
            && seconds == EXTENDABLE_SECONDS
            && binding.pod.is_some()
            && audiences == self.config.audiences;
        Claims {
            aud: audiences,
            exp: now + if extend { EXTENDED_SECONDS } else { seconds },
            iat: now,
            iss: self.config.issuers.first().cloned().unwrap_or_default(),
            jti: rng::uuid(),
            nbf: now,
            sub: user_name(namespace, &account.name),
            kubernetes: Private {
                namespace: namespace.to_owned(),
                node: binding.node,
                pod: binding.pod,
                secret: binding.secret,
                serviceaccount: account,
                warnafter: extend.then_some(now + seconds),
            },
            ..Claims::default()
        }
    }

    async fn bind(&self, namespace: &str, account: &str, wanted: &BoundObjectReference) -> Result<Binding, ApiError> {
        let name = wanted.name.as_deref().unwrap_or_default();
        let (version, kind) = (wanted.api_version.as_deref(), wanted.kind.as_deref());
        match (version.unwrap_or_default(), kind.unwrap_or_default()) {
            ("v1", "Pod") => {
                let pod: Option<Pod> = self.get(namespace, name).await?;
                let pod = pod.ok_or_else(|| ApiError::not_found("", "pods", name))?;
                let bound = check_uid("pods", name, &pod.metadata, wanted)?;
                let spec = pod.spec.unwrap_or_default();
                if spec.service_account_name.as_deref() != Some(account) {
                    return Err(ApiError::bad_request(format!(
                        "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                    )));
                }
                let node = match spec.node_name.filter(|node| !node.is_empty()) {
                    Some(node) => Some(self.node_of_pod(&node).await?),
                    None => None,
                };
                Ok(Binding { pod: Some(bound), node, secret: None })
            }
            ("v1", "Node") => {
                let node: Option<Node> = self.objects.get(name).await.map_err(ApiError::internal)?;
                let node = node.ok_or_else(|| ApiError::not_found("", "nodes", name))?;
                Ok(Binding { node: Some(check_uid("nodes", name, &node.metadata, wanted)?), ..Binding::default() })
            }
            ("v1", "Secret") => {
                let secret: Option<Secret> = self.get(namespace, name).await?;
                let secret = secret.ok_or_else(|| ApiError::not_found("", "secrets", name))?;
                Ok(Binding {
                    secret: Some(check_uid("secrets", name, &secret.metadata, wanted)?),
                    ..Binding::default()
                })
            }
            (version, kind) => {
                Err(ApiError::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}")))
            }
        }
    }

    /// The node's object may be gone before its pods are.
    async fn node_of_pod(&self, name: &str) -> Result<Reference, ApiError> {
        let node: Option<Node> = self.objects.get(name).await.map_err(ApiError::internal)?;
        let uid = node.and_then(|node| node.metadata.uid).unwrap_or_default();
        Ok(Reference { name: name.to_owned(), uid })
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ApiError>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.objects.get_in(namespace, name).await.map_err(ApiError::internal)
    }
}

fn check_uid(
    resource: &str,
    name: &str,
    found: &ObjectMeta,
    wanted: &BoundObjectReference,
) -> Result<Reference, ApiError> {
    let uid = found.uid.clone().unwrap_or_default();
    match &wanted.uid {
        Some(wanted) if !wanted.is_empty() && *wanted != uid => {
            let why = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            Err(ApiError::conflict("", resource, name, &why))
        }
        _ => Ok(Reference { name: name.to_owned(), uid }),
    }
}

fn validate(name: &str, seconds: i64) -> Result<(), ApiError> {
    let path = Path::new("spec").child("expirationSeconds");
    let error = if seconds < MIN_SECONDS {
        FieldError::invalid(&path, seconds, "may not specify a duration less than 10 minutes")
    } else if seconds > MAX_SECONDS {
        FieldError::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")
    } else {
        return Ok(());
    };
    Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", name, &[error]))
}

/// The longest duration that `--service-account-max-token-expiration` accepts.
pub(crate) const MAX_EXPIRATION: Duration = Duration::from_secs(MAX_SECONDS as u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> TokenRequests {
        let config = IssuerConfig {
            issuers: vec!["https://me".into()],
            audiences: vec!["https://me".into()],
            extend_expiration: true,
            ..IssuerConfig::default()
        };
        TokenRequests::new(config, None, Loopback::default())
    }

    #[tokio::test]
    async fn tokens_of_pods_are_extended_and_others_are_not() {
        let (requests, own) = (requests(), vec!["https://me".to_owned()]);
        let account = || Reference { name: "sa".into(), uid: "u".into() };
        let pod = || Binding { pod: Some(Reference::default()), ..Binding::default() };
        for (binding, audiences, seconds, extended) in [
            (pod(), own.clone(), EXTENDABLE_SECONDS, true),
            (pod(), own.clone(), 3600, false),
            (pod(), vec!["vault".into()], EXTENDABLE_SECONDS, false),
            (Binding::default(), own, EXTENDABLE_SECONDS, false),
        ] {
            let claims = requests.claims("ns", account(), binding, audiences, seconds);
            let expected = if extended { EXTENDED_SECONDS } else { seconds };
            assert_eq!(claims.exp - claims.iat, expected);
            assert_eq!(claims.kubernetes.warnafter, extended.then_some(claims.iat + seconds));
            assert_eq!(claims.sub, "system:serviceaccount:ns:sa");
        }
    }

    #[test]
    fn durations_have_bounds() {
        assert!(validate("sa", 600).is_ok());
        let short = validate("sa", 599).unwrap_err();
        assert_eq!(
            short.message,
            "TokenRequest.authentication.k8s.io \"sa\" is invalid: spec.expirationSeconds: Invalid value: 599: may not \
             specify a duration less than 10 minutes"
        );
        assert!(validate("sa", MAX_SECONDS + 1).is_err());
    }
}
