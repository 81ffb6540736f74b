//! Encryption at rest: what `--encryption-provider-config` says, at work between the server and its store.
//!
//! With `--encryption-provider-config-automatic-reload` the file is looked at every minute; a change that is refused, or whose key
//! management services are not well, leaves what is in force. Services are asked every twenty seconds, and every three while they are unwell;
//! what could not be read meanwhile is read again when they are well or the configuration has changed.

mod file;
mod kms;
mod metrics;
mod rules;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, anyhow};
use component_base::health::{Checks, Endpoint};
use parking_lot::{Mutex, RwLock};
use storage::{
    Store,
    encryption::{Assignment, Encrypted, Transformer, envelope::Envelope},
};
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::rules::Rules;

/// How often the file is looked at.
const FOLLOW: Duration = Duration::from_secs(60);
/// How often services are asked how they are.
const WELL: Duration = Duration::from_secs(20);
const UNWELL: Duration = Duration::from_secs(3);
/// The services of a new configuration have at least so long to be well, and are asked so often.
const PATIENCE: Duration = Duration::from_secs(10);
const PROBE: Duration = Duration::from_millis(100);

/// `--encryption-provider-config` and `--encryption-provider-config-automatic-reload`.
#[derive(Clone, Debug)]
pub struct EncryptionOptions {
    pub file: PathBuf,
    pub reload: bool,
}

/// What is in force, and what follows its changes.
pub(crate) struct Keyring {
    options: EncryptionOptions,
    current: RwLock<Arc<Current>>,
    renewals: watch::Sender<u64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

struct Current {
    rules: Rules,
    /// What was last wrong with each service.
    health: Vec<Mutex<Result<(), String>>>,
    /// Ends what asks the services.
    _asking: DropGuard,
}

impl EncryptionOptions {
    /// Reads the file once.
    ///
    /// # Errors
    /// What upstream refuses of it, in its words.
    pub(crate) fn check(&self) -> Result<()> {
        Rules::read(&self.file, self.reload).map(drop)
    }
}

/// `store` with its values encrypted as `options` say. Works until `shutdown`.
///
/// # Errors
/// If the configuration can't be read. Services need not be well yet.
pub(crate) async fn guard(
    store: Arc<dyn Store>,
    options: &EncryptionOptions,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<(Arc<dyn Store>, Arc<Keyring>)> {
    let rules = Rules::read(&options.file, options.reload)?;
    let mut health = Vec::new();
    for envelope in &rules.envelopes {
        let outcome = envelope.probe().await;
        if let Err(error) = &outcome {
            tracing::warn!(%error, "a key management service is not well");
        }
        health.push(outcome);
    }
    let asking = shutdown.child_token();
    let current = Arc::new(Current::new(rules, health, asking.clone()));
    let keyring = Arc::new(Keyring {
        options: options.clone(),
        current: RwLock::new(Arc::clone(&current)),
        renewals: watch::Sender::new(0),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    });
    keyring.ask(&current, &asking);
    if options.reload {
        tasks.spawn(Arc::clone(&keyring).follow());
    }
    Ok((Arc::new(Encrypted::new(store, Arc::clone(&keyring) as Arc<dyn Assignment>)), keyring))
}

// === impl Keyring ===

impl Assignment for Keyring {
    fn transformer(&self, key: &str) -> Arc<dyn Transformer> {
        Arc::clone(self.current.read().rules.of(key))
    }

    fn renewals(&self) -> watch::Receiver<u64> {
        self.renewals.subscribe()
    }
}

impl Keyring {
    /// Adds the check of the services, where there may be any.
    pub(crate) fn report(self: &Arc<Self>, checks: &Checks) {
        if !self.options.reload && self.current.read().health.is_empty() {
            return;
        }
        let keyring = Arc::clone(self);
        checks.add("kms-providers", &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz], move || {
            keyring.current.read().health()
        });
    }

    /// Has the services asked from time to time.
    fn ask(self: &Arc<Self>, current: &Arc<Current>, until: &CancellationToken) {
        for (n, envelope) in current.rules.envelopes.iter().enumerate() {
            // Not kept alive by what it is asked for.
            let asking = Arc::clone(self).keep_asking(n, Arc::downgrade(current), Arc::clone(envelope));
            let until = until.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = until.cancelled() => {}
                    () = asking => {}
                }
            });
        }
    }

    async fn keep_asking(self: Arc<Self>, n: usize, current: std::sync::Weak<Current>, envelope: Arc<Envelope>) {
        loop {
            let was_well = current.upgrade().is_some_and(|current| current.health[n].lock().is_ok());
            tokio::time::sleep(if was_well { WELL } else { UNWELL }).await;
            let outcome = envelope.probe().await;
            if let Err(error) = &outcome {
                tracing::warn!(%error, "a key management service is not well");
            }
            let is_well = outcome.is_ok();
            let Some(current) = current.upgrade() else { return };
            *current.health[n].lock() = outcome;
            if is_well && !was_well {
                self.renewals.send_modify(|count| *count += 1);
            }
        }
    }

    /// Takes over changes of the file.
    async fn follow(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(FOLLOW) => {}
            }
            let (path, hash) = (&self.options.file, self.current.read().rules.hash);
            match changed(path, hash).await {
                Ok(None) => {}
                Ok(Some(rules)) => {
                    self.take_over(rules);
                    metrics::reloaded(true);
                    tracing::info!(file = %path.display(), "the encryption configuration was taken over");
                }
                Err(error) => {
                    metrics::reloaded(false);
                    let error = format!("{error:#}");
                    tracing::error!(file = %path.display(), error, "the encryption configuration was not taken over");
                }
            }
        }
    }

    fn take_over(self: &Arc<Self>, rules: Rules) {
        let asking = self.shutdown.child_token();
        let health = rules.envelopes.iter().map(|_| Ok(())).collect();
        let current = Arc::new(Current::new(rules, health, asking.clone()));
        self.ask(&current, &asking);
        *self.current.write() = current;
        self.renewals.send_modify(|count| *count += 1);
    }
}

/// What the file says now, if its hash is another one and all services are well.
async fn changed(path: &Path, hash: [u8; 32]) -> Result<Option<Rules>> {
    let rules = Rules::read(path, true)?;
    if rules.hash == hash {
        return Ok(None);
    }
    let deadline = tokio::time::Instant::now() + PATIENCE.max(2 * rules.timeouts);
    for envelope in &rules.envelopes {
        while let Err(error) = envelope.probe().await {
            if tokio::time::Instant::now() >= deadline {
                return Err(anyhow!("health check for new transformers failed: {error}"));
            }
            tokio::time::sleep(PROBE).await;
        }
    }
    Ok(Some(rules))
}

// === impl Current ===

impl Current {
    fn new(rules: Rules, health: Vec<Result<(), String>>, asking: CancellationToken) -> Self {
        Self { rules, health: health.into_iter().map(Mutex::new).collect(), _asking: asking.drop_guard() }
    }

    fn health(&self) -> Result<(), String> {
        let wrong = self.health.iter().enumerate().filter_map(|(n, outcome)| {
            let outcome = outcome.lock();
            outcome.as_ref().err().map(|error| format!("kms-provider-{n}: {error}"))
        });
        let wrong: Vec<String> = wrong.collect();
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }
}
