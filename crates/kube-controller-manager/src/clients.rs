//! The identities that requests are made with: the process's own, or one service account per controller
//! (`--use-service-account-credentials`), whose tokens come from TokenRequest and are renewed before they expire.
//!
//! All service accounts share one transport without credentials: a controller's client only adds its token.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use api_types::k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::ServiceAccount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use kube::{Api, Client, api::PostParams, client::Body};
use tokio::{sync::Mutex, time::Instant};

use crate::Config;

const NAMESPACE: &str = "kube-system";
const TOKEN_SECONDS: i64 = 3600;
const USER_AGENT: &str = "kube-controller-manager";

/// The clients of the process.
#[derive(Clone)]
pub struct Clients {
    own: Client,
    /// A client without credentials, on which service account tokens travel.
    anonymous: Option<Client>,
}

impl Clients {
    /// Every controller uses `own`, or, with `anonymous` (a client without credentials), its own service account.
    pub fn new(own: Client, anonymous: Option<Client>) -> Self {
        Self { own, anonymous }
    }

    /// The clients that the configuration asks for.
    pub async fn from_kubeconfig(config: &Config) -> anyhow::Result<Self> {
        component_base::kubeconfig::install_crypto_provider();
        let path = config.kubeconfig.as_deref().context("--kubeconfig is required")?;
        let own = component_base::kubeconfig::load(path, &config.master).await?;
        let anonymous = if config.use_service_account_credentials {
            let mut bare = own.clone();
            bare.auth_info = kube::config::AuthInfo::default();
            Some(component_base::kubeconfig::client(bare, USER_AGENT)?)
        } else {
            None
        };
        Ok(Self::new(component_base::kubeconfig::client(own, USER_AGENT)?, anonymous))
    }

    /// The process's own client.
    pub fn own(&self) -> &Client {
        &self.own
    }

    /// The client of a controller's service account in kube-system (without a name, the process's own).
    pub fn service_account(&self, name: &'static str) -> Client {
        let Some(anonymous) = self.anonymous.clone().filter(|_| !name.is_empty()) else { return self.own.clone() };
        let source = Arc::new(TokenSource { name, own: self.own.clone(), token: Mutex::default() });
        let service = tower::service_fn(move |request: Request<Body>| {
            let (source, anonymous) = (source.clone(), anonymous.clone());
            async move { send(&source, &anonymous, request).await }
        });
        Client::new(service, NAMESPACE)
    }
}

async fn send(
    source: &TokenSource,
    anonymous: &Client,
    mut request: Request<Body>,
) -> Result<Response<Body>, tower::BoxError> {
    let token = source.token().await?;
    request.headers_mut().insert(AUTHORIZATION, token);
    let response = anonymous.send(request).await?;
    if response.status() == http::StatusCode::UNAUTHORIZED {
        source.forget().await;
    }
    Ok(response)
}

struct TokenSource {
    name: &'static str,
    own: Client,
    /// The header value, and when to get the next one.
    token: Mutex<Option<(HeaderValue, Instant)>>,
}

impl TokenSource {
    async fn token(&self) -> Result<HeaderValue, tower::BoxError> {
        let mut token = self.token.lock().await;
        if let Some((value, renew)) = &*token
            && Instant::now() < *renew
        {
            return Ok(value.clone());
        }
        let (text, life) = self.request().await?;
        let mut value = HeaderValue::try_from(format!("Bearer {text}"))?;
        value.set_sensitive(true);
        *token = Some((value.clone(), Instant::now() + life.mul_f64(0.8)));
        Ok(value)
    }

    async fn forget(&self) {
        *self.token.lock().await = None;
    }

    async fn request(&self) -> Result<(String, Duration), tower::BoxError> {
        let accounts = Api::<ServiceAccount>::namespaced(self.own.clone(), NAMESPACE);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let ask = || accounts.create_token_request(self.name, &params, &request);
        let answer = match ask().await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                self.create_account(&accounts).await?;
                ask().await?
            }
            answer => answer?,
        };
        let status = answer.status.unwrap_or_default();
        let (Some(token), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(format!("the API server answered no token for {}", self.name).into());
        };
        let life = expires.0.duration_since(component_base::clock::now());
        Ok((token, Duration::try_from(life).unwrap_or_default()))
    }

    async fn create_account(&self, accounts: &Api<ServiceAccount>) -> Result<(), kube::Error> {
        let metadata = ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        match accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            result => result.map(drop),
        }
    }
}
