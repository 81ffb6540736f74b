//! The configuration files of authentication and authorization are followed: a change takes effect within a minute, unless it means
//! nothing; then what was said before stays in force.

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use apiserver::{
    authn::AuthenticationError,
    authz::{Attributes, Authorizer, Decision, Rules},
    user::UserInfo,
};
use async_trait::async_trait;
use component_base::metrics::register;
use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::authenticate::{TokenAuthenticator, TokenIdentity, oidc::Oidc};

/// How often a file is looked at.
const FOLLOW: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    status: &'static str,
}

type Reloads = Family<Outcome, Counter>;

static AUTHENTICATION: LazyLock<Reloads> = LazyLock::new(|| {
    let name = "apiserver_authentication_config_controller_automatic_reloads";
    register(name, "Changes of the authentication configuration that were taken over, or not", Family::default())
});
static AUTHORIZATION: LazyLock<Reloads> = LazyLock::new(|| {
    let name = "apiserver_authorization_config_controller_automatic_reloads";
    register(name, "Changes of the authorization configuration that were taken over, or not", Family::default())
});

/// Which file it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Authentication,
    Authorization,
}

/// Looks at the file for ever, and has changes of its text taken over.
pub(super) async fn follow(kind: Kind, file: PathBuf, take_over: impl AsyncFn() -> anyhow::Result<()>) {
    let counts = match kind {
        Kind::Authentication => &AUTHENTICATION,
        Kind::Authorization => &AUTHORIZATION,
    };
    let mut known = tokio::fs::read(&file).await.ok();
    loop {
        tokio::time::sleep(FOLLOW).await;
        let now = tokio::fs::read(&file).await.ok();
        if now == known {
            continue;
        }
        let outcome = take_over().await;
        let status = if outcome.is_ok() { "success" } else { "failure" };
        counts.get_or_create(&Outcome { status }).inc();
        match outcome {
            Ok(()) => {
                tracing::info!(?kind, file = %file.display(), "the changed configuration was taken over");
                known = now;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(?kind, file = %file.display(), error, "the changed configuration was not taken over");
            }
        }
    }
}

/// The providers of OpenID tokens that are let in now.
#[derive(Default)]
pub(super) struct Providers(RwLock<Arc<Vec<Oidc>>>);

impl Providers {
    pub(super) fn replace(&self, providers: Vec<Oidc>) {
        *self.0.write() = Arc::new(providers);
    }
}

#[async_trait]
impl TokenAuthenticator for Providers {
    async fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenIdentity>, AuthenticationError> {
        let providers = Arc::clone(&self.0.read());
        for provider in providers.iter() {
            if let Some(identity) = provider.token(token, audiences).await? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }
}

/// Who decides now.
pub(super) struct Decider(RwLock<Arc<dyn Authorizer>>);

impl Decider {
    pub(super) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(RwLock::new(authorizer))
    }

    pub(super) fn replace(&self, authorizer: Arc<dyn Authorizer>) {
        *self.0.write() = authorizer;
    }

    fn now(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.0.read())
    }
}

#[async_trait]
impl Authorizer for Decider {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        self.now().authorize(attributes).await
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        self.now().rules_for(user, namespace).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn changes_are_taken_over_once_and_failures_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("one");
        let (calls, bad) = (Arc::new(AtomicUsize::new(0)), file.clone());
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(follow(Kind::Authentication, file.clone(), async move || {
            counted.fetch_add(1, Ordering::Relaxed);
            anyhow::ensure!(std::fs::read_to_string(&bad)? != "bad", "bad");
            Ok(())
        }));
        // Before the first look nothing has changed.
        tokio::time::sleep(FOLLOW / 2).await;
        for (text, expected) in [("one", 0), ("two", 1), ("two", 1), ("bad", 2), ("bad", 3), ("three", 4), ("three", 4)]
        {
            write(text);
            // Files are read by other threads, which the clock does not wait for.
            let before = calls.load(Ordering::Relaxed);
            for _ in 0..200 {
                tokio::time::sleep(FOLLOW / 200).await;
                std::thread::yield_now();
            }
            assert!(calls.load(Ordering::Relaxed) >= before);
            assert_eq!(calls.load(Ordering::Relaxed), expected, "after {text}");
        }
        task.abort();
    }
}
