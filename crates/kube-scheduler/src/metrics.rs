//! The scheduler's metrics, by upstream's names.

use std::{sync::OnceLock, time::Duration};

use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};

use crate::queue::Counts;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    profile: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    queue: &'static str,
}

type Durations = Family<Attempt, Histogram, fn() -> Histogram>;

/// Handles to the process's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    attempts: Family<Attempt, Counter>,
    durations: Durations,
    pending: Family<Place, Gauge>,
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    /// The process's metrics, registered once.
    pub(crate) fn shared() -> Self {
        static SHARED: OnceLock<Metrics> = OnceLock::new();
        let made = SHARED.get_or_init(|| Metrics {
            attempts: register(
                "scheduler_schedule_attempts",
                "Number of attempts to schedule pods, by the result",
                Family::default(),
            ),
            durations: register(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm)",
                Durations::new_with_constructor(buckets),
            ),
            pending: register("scheduler_pending_pods", "Number of pending pods, by the queue type", Family::default()),
        });
        made.clone()
    }

    pub(crate) fn attempt(&self, profile: &str, scheduled: bool, took: Duration) {
        let labels =
            Attempt { profile: profile.to_owned(), result: if scheduled { "scheduled" } else { "unschedulable" } };
        self.attempts.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn pending(&self, counts: Counts) {
        let all = [
            ("active", counts.active),
            ("backoff", counts.backoff),
            ("unschedulable", counts.pending),
            ("gated", counts.gated),
        ];
        for (queue, count) in all {
            self.pending.get_or_create(&Place { queue }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
