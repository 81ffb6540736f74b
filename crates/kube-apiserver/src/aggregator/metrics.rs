//! Metrics of aggregated API servers under upstream's names.

use std::sync::LazyLock;

use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
};

use super::availability::Condition;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reasoned {
    name: String,
    reason: &'static str,
}

struct Metrics {
    unavailable: Family<Named, Gauge>,
    // A counter, but that its name without the suffix of counters is the gauge's.
    failures: Family<Reasoned, Gauge>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    unavailable: register("aggregator_unavailable_apiservice", "APIServices that are not available", Family::default()),
    failures: register(
        "aggregator_unavailable_apiservice_total",
        "Looks that found an APIService unavailable",
        Family::default(),
    ),
});

/// Counts a look at an APIService.
pub(super) fn record(name: &str, condition: &Condition) {
    let named = Named { name: name.to_owned() };
    METRICS.unavailable.get_or_create(&named).set(i64::from(!condition.available));
    if !condition.available {
        METRICS.failures.get_or_create(&Reasoned { name: name.to_owned(), reason: condition.reason }).inc();
    }
}

/// Forgets an APIService that is gone.
pub(super) fn forget(name: &str) {
    METRICS.unavailable.remove(&Named { name: name.to_owned() });
}
