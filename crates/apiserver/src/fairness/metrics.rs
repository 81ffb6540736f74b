//! Metrics of priority and fairness under upstream's names.

use std::time::Duration;

use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use super::seats::Desk;

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
    lower: Family<LevelLabels, Gauge>,
    upper: Family<LevelLabels, Gauge>,
    current: Family<LevelLabels, Gauge>,
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
            lower: register(
                "apiserver_flowcontrol_lower_limit_seats",
                "The fewest seats that a priority level is left with",
                Family::default(),
            ),
            upper: register(
                "apiserver_flowcontrol_upper_limit_seats",
                "The most seats that a priority level may have",
                Family::default(),
            ),
            current: register(
                "apiserver_flowcontrol_current_limit_seats",
                "Seats that a priority level may use now, borrowed ones included",
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

    /// Sets what is known of each level, by its name.
    pub(super) fn levels<'a>(&self, desks: impl Iterator<Item = (&'a str, &'a Desk)>) {
        for (name, desk) in desks {
            let labels = LevelLabels { priority_level: name.to_owned() };
            for (gauge, seats) in [
                (&self.nominal, desk.bounds.nominal),
                (&self.lower, desk.bounds.lower),
                (&self.upper, desk.bounds.upper),
                (&self.current, desk.limit),
                (&self.executing, desk.queues.seats_in_use()),
            ] {
                gauge.get_or_create(&labels).set(i64::from(seats));
            }
            self.waiting.get_or_create(&labels).set(desk.queues.waiting() as i64);
        }
    }
}
