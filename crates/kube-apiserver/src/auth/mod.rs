//! Who a request comes from, and what they may do.
//!
//! [`Auth`] is assembled from flags ([`AuthConfig`]), plugs into the generic server's chain as an `Authenticator` and an
//! `Authorizer`, and once the server can be asked, follows over a loopback client what decisions depend on: roles and
//! bindings, what pods refer to. Until these are read, all but `system:masters` are refused.

mod authenticate;
mod authorize;
mod config;
mod files;
pub(crate) mod follow;
mod impersonation;
mod loopback;
mod policy;
mod reload;
mod remote;
mod reviews;
mod service_account;

use std::{fmt::Debug, sync::Arc, time::Duration};

use anyhow::Context;
use apiserver::{
    authn::Authenticator,
    authz::{Authorizer, Verdict},
};
use bytes::Bytes;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use authenticate::RequestHeaderConfig;
pub use config::{Anonymous, AuthConfig, Mode};
pub use impersonation::impersonate;
pub use reviews::Reviews;
pub use service_account::{IssuerConfig, TokenRequests};

use authenticate::{
    AudienceAgnostic, BootstrapTokens, CertificateVerifier, ClientCertificates, RequestHeaders, TokenAuthenticator,
    TokenFile, TokenWebhook, Tokens,
    oidc::{Oidc, Provider},
};
use authorize::{
    Abac, Always, AlwaysAllowPaths, Graph, Masters, NodeAuthorizer, Rbac, RbacAuthorizer, WebhookAuthorizer,
};
use files::JwtConfig;
use follow::{Change, follow};
use loopback::Loopback;
use policy::Policy;
use reload::{Decider, Kind, Providers};
use remote::Remote;
use service_account::{Discovery, ServiceAccountTokens, SigningKey, VerificationKeys};

/// Load balancers ask these before anybody has a permission.
const HEALTH: [&str; 3] = ["/healthz", "/livez", "/readyz"];
/// Between attempts to write the default roles.
const RETRY: Duration = Duration::from_secs(1);

/// Authentication and authorization of one API server.
pub struct Auth {
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// TokenReview, SubjectAccessReview and the like.
    pub reviews: Reviews,
    /// The `token` subresource of service accounts.
    pub token_requests: TokenRequests,
    config: AuthConfig,
    providers: Arc<Providers>,
    decider: Arc<Decider>,
    discovery: Discovery,
    objects: Loopback,
    rbac: Arc<Rbac>,
    graph: Arc<Graph>,
    /// One per kind that is followed, and one for the default policy.
    ready: parking_lot::Mutex<Vec<watch::Receiver<bool>>>,
}

// === impl Auth ===

impl Auth {
    /// Reads all files that the configuration names.
    pub async fn new(config: AuthConfig) -> anyhow::Result<Self> {
        let objects = Loopback::default();
        let keys = Arc::new(VerificationKeys::open(&config.service_account_key_files)?);
        let signing = config.service_account_signing_key_file.as_deref().map(SigningKey::open).transpose()?;
        let providers = Arc::<Providers>::default();
        providers.replace(made(&config.jwt)?);
        let tokens = Arc::new(tokens(&config, keys.clone(), &objects, &providers).await?);
        let (rbac, graph) = (Arc::<Rbac>::default(), Arc::<Graph>::default());
        let decider = Arc::new(Decider::new(authorizer(&config.modes, &rbac, &graph).await?));
        let authorizer: Arc<dyn Authorizer> = decider.clone();
        Ok(Self {
            authenticator: authenticator(&config, tokens.clone())?,
            reviews: Reviews { tokens, authorizer: authorizer.clone() },
            authorizer,
            token_requests: TokenRequests::new(config.issuer.clone(), signing.map(Arc::new), objects.clone()),
            discovery: Discovery::new(&config.issuer, &keys),
            config,
            providers,
            decider,
            objects,
            rbac,
            graph,
            ready: parking_lot::Mutex::default(),
        })
    }

    /// Begins to follow what decisions depend on and writes the default policy, until `shutdown`. `loopback` acts as a
    /// member of `system:masters`.
    pub fn start(&self, loopback: Client, shutdown: &CancellationToken, tasks: &TaskTracker) {
        self.objects.set(loopback.clone());
        let spawner = Spawner { client: loopback.clone(), shutdown, tasks, ready: &self.ready };
        if self.config.modes.contains(&Mode::Rbac) {
            let rbac = &self.rbac;
            spawner.follow(rbac, Rbac::cluster_role);
            spawner.follow(rbac, Rbac::cluster_role_binding);
            spawner.follow(rbac, Rbac::role);
            spawner.follow(rbac, Rbac::role_binding);
            let (written, ready) = watch::channel(false);
            self.ready.lock().push(ready);
            tasks.spawn(write_policy(loopback, written, shutdown.clone()));
        }
        if self.config.modes.contains(&Mode::Node) {
            let graph = &self.graph;
            spawner.follow(graph, Graph::pod);
            spawner.follow(graph, Graph::volume);
            spawner.follow(graph, Graph::attachment);
            spawner.follow(graph, Graph::slice);
        }
    }

    /// Follows the configuration files, until `shutdown`.
    pub fn follow_files(self: &Arc<Self>, shutdown: &CancellationToken, tasks: &TaskTracker) {
        if let Some(file) = self.config.authentication_file.clone() {
            let auth = Arc::clone(self);
            let take_over = async move || auth.read_providers();
            let follow = reload::follow(Kind::Authentication, file, take_over);
            tasks.spawn(shutdown.clone().run_until_cancelled_owned(follow));
        }
        if let Some(file) = self.config.authorization_file.clone() {
            let auth = Arc::clone(self);
            let take_over = async move || auth.read_modes().await;
            let follow = reload::follow(Kind::Authorization, file, take_over);
            tasks.spawn(shutdown.clone().run_until_cancelled_owned(follow));
        }
    }

    /// Who comes without credentials is not changed.
    fn read_providers(&self) -> anyhow::Result<()> {
        let Some(file) = &self.config.authentication_file else { return Ok(()) };
        let (jwt, _) = files::read_authentication(file, &self.config.issuer.issuers)?;
        self.providers.replace(made(&jwt)?);
        Ok(())
    }

    /// Webhooks may come, go and change; the modes that need to follow objects are there or not from the start.
    async fn read_modes(&self) -> anyhow::Result<()> {
        let Some(file) = &self.config.authorization_file else { return Ok(()) };
        let modes = files::read_authorization(file)?;
        let built_in = |modes: &[Mode]| {
            let names = modes.iter().filter(|mode| !matches!(mode, Mode::Webhook(..))).map(|mode| format!("{mode:?}"));
            names.collect::<std::collections::BTreeSet<_>>()
        };
        let (before, now) = (built_in(&self.config.modes), built_in(&modes));
        anyhow::ensure!(before == now, "built-in authorizers can't be added or removed: there were {before:?}");
        self.decider.replace(authorizer(&modes, &self.rbac, &self.graph).await?);
        Ok(())
    }

    /// Whether everything has been read and the default policy is in place.
    pub fn is_ready(&self) -> bool {
        let ready = self.ready.lock();
        !ready.is_empty() && ready.iter().all(|ready| *ready.borrow())
    }

    /// Waits for [`Auth::is_ready`].
    pub async fn wait_ready(&self) {
        let waiting = self.ready.lock().clone();
        for mut ready in waiting {
            if ready.wait_for(|ready| *ready).await.is_err() {
                return;
            }
        }
    }

    /// The OpenID provider documents: content and media type by path.
    pub fn openid_document(&self, path: &str) -> Option<(Bytes, &'static str)> {
        self.discovery.get(path)
    }
}

async fn tokens(
    config: &AuthConfig,
    keys: Arc<VerificationKeys>,
    objects: &Loopback,
    providers: &Arc<Providers>,
) -> anyhow::Result<Tokens> {
    let mut kinds: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(path) = &config.token_auth_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let file = TokenFile::parse(&text).with_context(|| format!("token file {}", path.display()))?;
        kinds.push(Arc::new(AudienceAgnostic { tokens: file, audiences: config.issuer.audiences.clone() }));
    }
    kinds.push(Arc::new(ServiceAccountTokens::new(config.issuer.clone(), keys, objects.clone())));
    if config.bootstrap_tokens {
        let tokens = BootstrapTokens(objects.clone());
        kinds.push(Arc::new(AudienceAgnostic { tokens, audiences: config.issuer.audiences.clone() }));
    }
    let audiences = config.issuer.audiences.clone();
    kinds.push(Arc::new(AudienceAgnostic { tokens: Arc::clone(providers), audiences }));
    if let Some(webhook) = &config.token_webhook {
        let remote = Remote::open(&webhook.kubeconfig).await.context("--authentication-token-webhook-config-file")?;
        let own = config.issuer.audiences.clone();
        kinds.push(Arc::new(TokenWebhook::new(remote, &webhook.version, own, webhook.time_to_live)));
    }
    Ok(Tokens { kinds, audiences: config.issuer.audiences.clone() })
}

fn made(providers: &[JwtConfig]) -> anyhow::Result<Vec<Oidc>> {
    providers.iter().map(|jwt| provider(jwt).with_context(|| format!("the issuer {}", jwt.issuer))).collect()
}

fn provider(jwt: &JwtConfig) -> anyhow::Result<Oidc> {
    let provider = Provider::new(&jwt.issuer, &jwt.discovery_url, jwt.authority.as_bytes());
    Ok(Oidc {
        provider: provider.map_err(anyhow::Error::msg)?,
        audiences: jwt.audiences.clone(),
        algorithms: jwt.algorithms.clone(),
        mapping: jwt.mapping.clone(),
    })
}

fn authenticator(config: &AuthConfig, tokens: Arc<Tokens>) -> anyhow::Result<Arc<dyn Authenticator>> {
    let mut kinds: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(headers) = &config.request_header {
        kinds.push(Arc::new(RequestHeaders::new(headers.clone())?));
    }
    if let Some(path) = &config.client_ca_file {
        kinds.push(Arc::new(ClientCertificates(CertificateVerifier::open(path)?)));
    }
    kinds.push(tokens);
    Ok(Arc::new(authenticate::Union(kinds)))
}

async fn authorizer(modes: &[Mode], rbac: &Arc<Rbac>, graph: &Arc<Graph>) -> anyhow::Result<Arc<dyn Authorizer>> {
    let health = HEALTH.map(str::to_owned).to_vec();
    let mut all: Vec<Arc<dyn Authorizer>> = vec![Arc::new(Masters), Arc::new(AlwaysAllowPaths(health))];
    for mode in modes {
        all.push(match mode {
            Mode::Node => Arc::new(NodeAuthorizer::new(graph.clone(), Policy::load().rules_of("system:node"))),
            Mode::Rbac => Arc::new(RbacAuthorizer(rbac.clone())),
            Mode::AlwaysAllow => Arc::new(Always(Verdict::Allow)),
            Mode::AlwaysDeny => Arc::new(Always(Verdict::NoOpinion)),
            Mode::Abac(file) => {
                let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
                Arc::new(Abac::parse(&text).with_context(|| file.display().to_string())?)
            }
            Mode::Webhook(file, options) => {
                let remote = Remote::open(file).await.context("the authorization webhook")?;
                Arc::new(WebhookAuthorizer::new(remote, options.clone()))
            }
        });
    }
    Ok(Arc::new(authorize::Union(all)))
}

struct Spawner<'a> {
    client: Client,
    shutdown: &'a CancellationToken,
    tasks: &'a TaskTracker,
    ready: &'a parking_lot::Mutex<Vec<watch::Receiver<bool>>>,
}

impl Spawner<'_> {
    fn follow<T, K>(&self, target: &Arc<T>, sink: fn(&T, Change<K>))
    where
        T: Send + Sync + 'static,
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let (synced, ready) = watch::channel(false);
        self.ready.lock().push(ready);
        let target = target.clone();
        let feed = move |change| sink(&target, change);
        self.tasks.spawn(follow(self.client.clone(), feed, synced, self.shutdown.clone()));
    }
}

async fn write_policy(client: Client, written: watch::Sender<bool>, shutdown: CancellationToken) {
    let policy = Policy::load();
    loop {
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = policy::reconcile(&client, &policy) => result,
        };
        match result {
            Ok(()) => {
                written.send_replace(true);
                return;
            }
            Err(error) => tracing::warn!(%error, "writing the default roles failed, trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
