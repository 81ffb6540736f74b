//! Leader election by a `coordination.k8s.io/v1` Lease, compatible with client-go's: processes of both may compete for one lease.
//!
//! Only times observed locally count (a candidate waits a full lease duration since it last saw the record change), so clocks of
//! different machines need not agree. A leader that cannot renew within the renew deadline stops its work and the process ends.

use std::{future::Future, time::Duration};

use api_types::k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{backoff::jitter, metrics::set_leader};

/// Who competes for which lease, and the timings.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// This candidate; unique among all (upstream: host name, `_`, a uid).
    pub identity: String,
    /// How long others wait after the last renewal that they saw.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between attempts.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// Upstream's defaults (15 s, 10 s, 2 s) for a lease in kube-system.
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Why leading ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// The lease could not be renewed in time, or another candidate has it.
    #[error("leader election lost: {namespace}/{name}")]
    Lost {
        /// Namespace of the lease.
        namespace: String,
        /// Name of the lease.
        name: String,
    },
}

/// Waits for the lease, then runs `lead` while renewing it. `lead` gets a token that is cancelled at shutdown or when the lease is
/// lost; its result is returned, or [`LeaderError::Lost`] in the second case. At shutdown the lease is released.
pub async fn run_as_leader<F, Fut, T>(
    client: Client,
    config: LeaderConfig,
    shutdown: CancellationToken,
    lead: F,
) -> Result<Option<T>, LeaderError>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = T>,
{
    set_leader(&config.name, false);
    let mut candidate = Candidate { api: Api::namespaced(client, &config.namespace), config, seen: None };
    if !candidate.acquire(&shutdown).await {
        return Ok(None);
    }
    tracing::info!(lease = %candidate.config.name, identity = %candidate.config.identity, "became leader");
    set_leader(&candidate.config.name, true);
    let leading = shutdown.child_token();
    let mut work = Box::pin(lead(leading.clone()));
    let lost = tokio::select! {
        biased;
        () = candidate.renew_until_lost(&shutdown) => !shutdown.is_cancelled(),
        result = &mut work => {
            candidate.release().await;
            return Ok(Some(result));
        }
    };
    if lost {
        // The work is dropped where it stands: another leader may already act.
        leading.cancel();
        set_leader(&candidate.config.name, false);
        let LeaderConfig { namespace, name, .. } = candidate.config;
        return Err(LeaderError::Lost { namespace, name });
    }
    let result = work.await;
    candidate.release().await;
    Ok(Some(result))
}

struct Candidate {
    api: Api<Lease>,
    config: LeaderConfig,
    /// The last record seen, and when it was seen to change.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    async fn acquire(&mut self, shutdown: &CancellationToken) -> bool {
        loop {
            match self.try_acquire_or_renew().await {
                Ok(true) => return !shutdown.is_cancelled(),
                Ok(false) => {}
                Err(error) => tracing::warn!(lease = %self.config.name, %error, "failed to acquire the lease"),
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(jitter(self.config.retry_period, 1.2)) => {}
            }
        }
    }

    async fn renew_until_lost(&mut self, shutdown: &CancellationToken) {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.config.retry_period) => {}
            }
            let deadline = renewed + self.config.renew_deadline;
            match tokio::time::timeout_at(deadline, self.try_acquire_or_renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => {
                    tracing::error!(lease = %self.config.name, "another candidate holds the lease");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(lease = %self.config.name, %error, "failed to renew the lease"),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                tracing::error!(lease = %self.config.name, "failed to renew the lease in time");
                return;
            }
        }
    }

    async fn try_acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else {
            return self.create().await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        let held_by_us = spec.holder_identity.as_deref() == Some(self.config.identity.as_str());
        if !held_by_us && self.is_held_by_another(&spec) {
            return Ok(false);
        }
        lease.spec = Some(self.record(&spec, held_by_us));
        match self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
            Ok(lease) => {
                self.seen = lease.spec.map(|spec| (spec, Instant::now()));
                Ok(true)
            }
            // Somebody else was faster; the next attempt sees who.
            Err(kube::Error::Api(status)) if status.is_conflict() && !held_by_us => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_held_by_another(&self, spec: &LeaseSpec) -> bool {
        let held = spec.holder_identity.as_deref().is_some_and(|holder| !holder.is_empty());
        let duration =
            Duration::from_secs(spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or_default());
        held && self.seen.as_ref().is_some_and(|(_, at)| at.elapsed() < duration)
    }

    fn record(&self, previous: &LeaseSpec, held_by_us: bool) -> LeaseSpec {
        let now = MicroTime(component_base::clock::now());
        let transitions = previous.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease_duration.as_secs()).ok(),
            acquire_time: if held_by_us { previous.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if held_by_us { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    async fn create(&mut self) -> Result<bool, kube::Error> {
        let mut spec = self.record(&LeaseSpec::default(), false);
        spec.lease_transitions = Some(0);
        let metadata = ObjectMeta {
            name: Some(self.config.name.clone()),
            namespace: Some(self.config.namespace.clone()),
            ..ObjectMeta::default()
        };
        match self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await {
            Ok(lease) => {
                self.seen = lease.spec.map(|spec| (spec, Instant::now()));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the lease up, so that the next candidate need not wait. Best effort: the process ends anyway.
    async fn release(&mut self) {
        let work = async {
            let mut lease = self.api.get(&self.config.name).await?;
            let Some(spec) = &mut lease.spec else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
                return Ok(());
            }
            let now = MicroTime(component_base::clock::now());
            *spec = LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                lease_transitions: spec.lease_transitions,
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            };
            self.api.replace(&self.config.name, &PostParams::default(), &lease).await.map(drop)
        };
        let result = tokio::time::timeout(Duration::from_secs(2), work).await;
        if !matches!(result, Ok(Ok(()))) {
            tracing::info!(lease = %self.config.name, "could not release the lease");
        }
    }
}
