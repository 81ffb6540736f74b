//! The proxy's metrics, by upstream's names.

use std::{sync::OnceLock, time::Duration};

use component_base::metrics::register;
use prometheus_client::metrics::{
    counter::Counter,
    histogram::{Histogram, exponential_buckets},
};

/// Handles to the process's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    passes: Histogram,
    complete: Histogram,
    failures: Counter,
}

impl Metrics {
    /// The process's metrics, registered once.
    pub(crate) fn shared() -> Self {
        static SHARED: OnceLock<Metrics> = OnceLock::new();
        let histogram = |name, help| register(name, help, Histogram::new(exponential_buckets(0.001, 2.0, 15)));
        let made = SHARED.get_or_init(|| Metrics {
            passes: histogram("kubeproxy_sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds"),
            complete: histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
            ),
            failures: register(
                "kubeproxy_sync_proxy_rules_iptables_restore_failures",
                "Cumulative proxy iptables restore failures",
                Counter::default(),
            ),
        });
        made.clone()
    }

    pub(crate) fn pass(&self, complete: bool, ok: bool, took: Duration) {
        self.passes.observe(took.as_secs_f64());
        if complete {
            self.complete.observe(took.as_secs_f64());
        }
        if !ok {
            self.failures.inc();
        }
    }
}
