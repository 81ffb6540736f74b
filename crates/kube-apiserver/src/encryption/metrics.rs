//! Metrics of encryption at rest under upstream's names.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

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
use storage::encryption::{Direction, TransformError};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    transformation_type: &'static str,
    transformer_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    transformation_type: &'static str,
    transformer_prefix: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    status: &'static str,
}

struct Metrics {
    operations: Family<Counted, Counter>,
    durations: Family<Timed, Histogram, fn() -> Histogram>,
    reloads: Family<Reload, Counter>,
    reloaded: Family<Reload, Gauge>,
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(5e-6, 2.0, 25))
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    operations: register(
        "apiserver_storage_transformation_operations",
        "Values that were encrypted or decrypted",
        Family::default(),
    ),
    durations: register(
        "apiserver_storage_transformation_duration_seconds",
        "Time that encrypting or decrypting a value took",
        Family::new_with_constructor(histogram as fn() -> Histogram),
    ),
    reloads: register(
        "apiserver_encryption_config_controller_automatic_reloads",
        "Changes of the encryption configuration that were taken over or refused",
        Family::default(),
    ),
    reloaded: register(
        "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
        "When a change of the encryption configuration was last taken over or refused",
        Family::default(),
    ),
});

/// Counts one transformation.
pub(super) fn transformed(direction: Direction, prefix: &str, took: Duration, outcome: Result<(), &TransformError>) {
    let transformation_type = match direction {
        Direction::FromStorage => "from_storage",
        Direction::ToStorage => "to_storage",
    };
    let status = if outcome.is_ok() { "OK" } else { "unknown-non-grpc" };
    let transformer_prefix = prefix.to_owned();
    let counted = Counted { transformation_type, transformer_prefix: transformer_prefix.clone(), status };
    METRICS.operations.get_or_create(&counted).inc();
    if outcome.is_ok() {
        let timed = Timed { transformation_type, transformer_prefix };
        METRICS.durations.get_or_create(&timed).observe(took.as_secs_f64());
    }
}

/// Counts one change of the file.
pub(super) fn reloaded(taken: bool) {
    let status = Reload { status: if taken { "success" } else { "failure" } };
    METRICS.reloads.get_or_create(&status).inc();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    METRICS.reloaded.get_or_create(&status).set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
}
