//! Metrics of webhooks under upstream's names.

use std::{sync::LazyLock, time::Duration};

use component_base::metrics::register;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rejected {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ignored {
    name: String,
    r#type: &'static str,
}

struct Metrics {
    durations: Family<Timed, Histogram, fn() -> Histogram>,
    requests: Family<Asked, Counter>,
    // Counters, but that upstream's names lack the suffix that a counter's gets.
    rejections: Family<Rejected, Gauge>,
    fail_open: Family<Ignored, Gauge>,
}

fn histogram() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    durations: register(
        "apiserver_admission_webhook_admission_duration_seconds",
        "Time that webhooks took to answer",
        Family::new_with_constructor(histogram as fn() -> Histogram),
    ),
    requests: register("apiserver_admission_webhook_request", "Questions to webhooks", Family::default()),
    rejections: register(
        "apiserver_admission_webhook_rejection_count",
        "Requests that were refused by webhooks, or because they could not be asked",
        Family::default(),
    ),
    fail_open: register(
        "apiserver_admission_webhook_fail_open_count",
        "Questions to webhooks that failed and were passed over",
        Family::default(),
    ),
});

/// How a question ended.
pub(super) enum Outcome {
    Allowed,
    /// The webhook refused, with this code.
    Denied(u16),
    /// It could not be asked; this would be the code of that.
    Failed {
        code: u16,
        ignored: bool,
    },
}

/// Counts a question to the webhook `name`; `kind` is `admit` or `validating`.
pub(super) fn record(name: &str, kind: &'static str, operation: &'static str, took: Duration, outcome: Outcome) {
    let (code, rejection) = match outcome {
        Outcome::Allowed => (200, None),
        Outcome::Denied(code) => (code, Some("no_error")),
        Outcome::Failed { code, ignored } => (code, (!ignored).then_some("calling_webhook_error")),
    };
    let (name, r#type) = (name.to_owned(), kind);
    let rejected = if rejection.is_some() { "true" } else { "false" };
    let timed = Timed { name: name.clone(), r#type, operation, rejected };
    METRICS.durations.get_or_create(&timed).observe(took.as_secs_f64());
    let asked = Asked { name: name.clone(), r#type, operation, code, rejected };
    METRICS.requests.get_or_create(&asked).inc();
    if let Some(error_type) = rejection {
        let rejected = Rejected { name: name.clone(), r#type, operation, error_type, rejection_code: code };
        METRICS.rejections.get_or_create(&rejected).inc();
    }
    if matches!(outcome, Outcome::Failed { ignored: true, .. }) {
        METRICS.fail_open.get_or_create(&Ignored { name, r#type }).inc();
    }
}
