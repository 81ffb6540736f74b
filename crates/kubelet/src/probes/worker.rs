//! One probe of one container: when to run it, and how many results in a row make a verdict.

use super::run::{Outcome, probe};
use super::{Kind, Probes};
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, Probe};
use component_base::clock;
use controller_runtime::EventType::Warning;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Tries of one run that could not be carried out at all.
const TRIES: usize = 3;

pub(super) struct Worker {
    probes: Arc<Probes>,
    pod: Arc<Pod>,
    container: Container,
    kind: Kind,
    probe: Probe,
    /// The container that results are for.
    id: String,
    counter: Counter,
    /// The container failed and will be replaced: no more runs for this id.
    on_hold: bool,
}

/// Results in a row.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counter {
    last: Option<bool>,
    run: i32,
}

impl Counter {
    /// Counts a result; the verdict when there are enough in a row.
    fn observe(&mut self, success: bool, failure_threshold: i32, success_threshold: i32) -> Option<bool> {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            *self = Counter { last: Some(success), run: 1 };
        }
        let needed = if success { success_threshold } else { failure_threshold };
        (self.run >= needed).then_some(success)
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.filter(|value| *value > 0).map_or(default, |value| value as u64))
}

/// What the status says about the container.
enum Stage {
    /// Wait for the status to change.
    Absent,
    /// Runs: its id, and how long it still must be left alone.
    Running(String, Duration),
}

impl Worker {
    pub(super) fn new(probes: Arc<Probes>, pod: Arc<Pod>, container: Container, kind: Kind, probe: Probe) -> Self {
        Self { probes, pod, container, kind, probe, id: String::new(), counter: Counter::default(), on_hold: false }
    }

    pub(super) async fn run(mut self, kick: Arc<Notify>, stop: CancellationToken) {
        let period = seconds(self.probe.period_seconds, 10);
        loop {
            let wait = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                wait = self.step(period) => wait,
            };
            let Some(wait) = wait else {
                // Nothing to probe until the status changes.
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = kick.notified() => continue,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        self.probes.drop_result(self.kind, &self.id);
    }

    /// One look; how long until the next, or none to wait for a change.
    async fn step(&mut self, period: Duration) -> Option<Duration> {
        let Stage::Running(id, delay) = self.stage() else { return None };
        if id != self.id {
            self.begin(id);
        }
        if self.on_hold {
            return None;
        }
        if !delay.is_zero() {
            return Some(delay);
        }
        match (self.kind, self.probes.result(Kind::Startup, &self.id)) {
            // It has started; the startup probe is done with this container.
            (Kind::Startup, Some(true)) => return None,
            (Kind::Startup, _) => {}
            (_, result) if self.container.startup_probe.is_some() && result != Some(true) => return None,
            _ => {}
        }
        let begun = Instant::now();
        self.probe_once().await;
        Some(period.saturating_sub(begun.elapsed()))
    }

    /// A new container: results of the one before are void.
    fn begin(&mut self, id: String) {
        self.probes.drop_result(self.kind, &self.id);
        self.id = id;
        self.counter = Counter::default();
        self.on_hold = false;
        match self.kind {
            Kind::Liveness => self.set(true),
            Kind::Readiness => self.set(false),
            Kind::Startup => {}
        }
    }

    fn set(&self, result: bool) {
        self.probes.set(self.kind, &self.id, self.pod.pod_uid(), result);
    }

    fn stage(&self) -> Stage {
        let status = self.probes.statuses.status(&self.pod);
        let find = |list: &Option<Vec<ContainerStatus>>| {
            list.iter().flatten().find(|status| status.name == self.container.name).cloned()
        };
        let Some(found) = find(&status.container_statuses).or_else(|| find(&status.init_container_statuses)) else {
            return Stage::Absent;
        };
        let (Some(id), Some(running)) = (found.container_id, found.state.and_then(|state| state.running)) else {
            return Stage::Absent;
        };
        let id = id.split_once("://").map_or(id.as_str(), |(_, id)| id).to_owned();
        let age = running.started_at.map_or(Duration::ZERO, |started| {
            Duration::try_from(clock::now().duration_since(started.0)).unwrap_or_default()
        });
        Stage::Running(id, seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age))
    }

    async fn probe_once(&mut self) {
        let ip = self.probes.statuses.status(&self.pod).pod_ip.unwrap_or_default();
        let mut outcome = Outcome::Broken(String::new());
        for _ in 0..TRIES {
            outcome = probe(self.probes.runtime.as_ref(), &self.container, &self.id, &ip, &self.probe).await;
            if !matches!(outcome, Outcome::Broken(_)) {
                break;
            }
        }
        let title = self.kind.title();
        let success = match outcome {
            Outcome::Success => true,
            Outcome::Failure(why) => {
                self.report(&format!("{title} probe failed: {why}"));
                false
            }
            Outcome::Broken(why) => {
                self.report(&format!("{title} probe errored and resulted in unknown state: {why}"));
                return;
            }
        };
        let failures = self.probe.failure_threshold.unwrap_or(3).max(1);
        let successes = self.probe.success_threshold.unwrap_or(1).max(1);
        if let Some(verdict) = self.counter.observe(success, failures, successes) {
            self.set(verdict);
            if !verdict && self.kind != Kind::Readiness {
                self.on_hold = true;
                self.counter = Counter::default();
            }
            if verdict && self.kind == Kind::Startup {
                self.probes.kick(self.pod.pod_uid());
            }
        }
    }

    fn report(&self, message: &str) {
        self.probes.events.container(&self.pod, &self.container.name, Warning, "Unhealthy", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        let mut counter = Counter::default();
        let verdicts: Vec<_> = [false, false, true, false, false, false, true, true]
            .into_iter()
            .map(|success| counter.observe(success, 3, 2))
            .collect();
        assert_eq!(verdicts, [None, None, None, None, None, Some(false), None, Some(true)]);
    }
}
