//! Metrics of priority and fairness under upstream's names.

use std::time::Duration;

use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SchemaLabels {
    flow_schema: String,
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    flow_schema: String,
    priority_level: String,
    reason: &'static str,
}

pub(super) struct Metrics {
    dispatched: Family<SchemaLabels, Counter>,
    rejected: Family<RejectionLabels, Counter>,
    waited: Family<SchemaLabels, Histogram, fn() -> Histogram>,
    nominal: Family<LevelLabels, Gauge>,
    executing: Family<LevelLabels, Gauge>,
    waiting: Family<LevelLabels, Gauge>,
}

/// What every request of a schema counts in, at hand.
pub(super) struct Dispatched {
    count: Counter,
    waited: Histogram,
}

impl Dispatched {
    pub(super) fn record(&self, waited: Duration) {
        self.count.inc();
        self.waited.observe(waited.as_secs_f64());
    }
}

fn histogram() -> Histogram {
    Histogram::new([0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            dispatched: register(
                "apiserver_flowcontrol_dispatched_requests",
                "Requests that were given their seats",
                Family::default(),
            ),
            rejected: register(
                "apiserver_flowcontrol_rejected_requests",
                "Requests that were refused with 429",
                Family::default(),
            ),
            waited: register(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "Time that requests waited for their seats",
                Family::new_with_constructor(histogram as fn() -> Histogram),
            ),
            nominal: register(
                "apiserver_flowcontrol_nominal_limit_seats",
                "Seats of a priority level",
                Family::default(),
            ),
            executing: register(
                "apiserver_flowcontrol_current_executing_seats",
                "Seats of a priority level that are in use",
                Family::default(),
            ),
            waiting: register(
                "apiserver_flowcontrol_current_inqueue_requests",
                "Requests that wait in the queues of a priority level",
                Family::default(),
            ),
        }
    }
}

impl Metrics {
    pub(super) fn of_schema(&self, schema: &str, level: &str) -> Dispatched {
        let labels = SchemaLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned() };
        let count = self.dispatched.get_or_create(&labels).clone();
        Dispatched { count, waited: self.waited.get_or_create(&labels).clone() }
    }

    pub(super) fn reject(&self, schema: &str, level: &str, reason: &'static str) {
        let labels = RejectionLabels { flow_schema: schema.to_owned(), priority_level: level.to_owned(), reason };
        self.rejected.get_or_create(&labels).inc();
    }

    /// Of each level: name, its seats, seats in use, requests waiting.
    pub(super) fn levels<'a>(&self, report: impl Iterator<Item = (&'a str, u32, u32, usize)>) {
        for (name, nominal, used, waiting) in report {
            let labels = LevelLabels { priority_level: name.to_owned() };
            self.nominal.get_or_create(&labels).set(i64::from(nominal));
            self.executing.get_or_create(&labels).set(i64::from(used));
            self.waiting.get_or_create(&labels).set(waiting as i64);
        }
    }
}
