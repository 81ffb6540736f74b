//! Upstream's metrics of work queues and leader election.

use std::sync::LazyLock;

use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

type Labels = Vec<(String, String)>;

struct Families {
    depth: Family<Labels, Gauge>,
    adds: Family<Labels, Counter>,
    retries: Family<Labels, Counter>,
    work: Family<Labels, Histogram, fn() -> Histogram>,
    leader: Family<Labels, Gauge>,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    use component_base::metrics::register;
    let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(10e-9, 10.0, 10));
    let work = Family::new_with_constructor(buckets);
    Families {
        depth: register("workqueue_depth", "Current depth of workqueue.", Family::default()),
        adds: register("workqueue_adds", "Total number of adds handled by workqueue.", Family::default()),
        retries: register("workqueue_retries", "Total number of retries handled by workqueue.", Family::default()),
        work: register(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            work,
        ),
        leader: register(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master.",
            Family::default(),
        ),
    }
});

fn labels(name: &str) -> Labels {
    vec![("name".to_owned(), name.to_owned())]
}

/// The metrics of one queue.
pub(crate) struct QueueMetrics {
    pub(crate) depth: Gauge,
    pub(crate) adds: Counter,
    pub(crate) retries: Counter,
    pub(crate) work: Histogram,
}

impl QueueMetrics {
    pub(crate) fn new(name: &str) -> Self {
        let labels = labels(name);
        Self {
            depth: FAMILIES.depth.get_or_create(&labels).clone(),
            adds: FAMILIES.adds.get_or_create(&labels).clone(),
            retries: FAMILIES.retries.get_or_create(&labels).clone(),
            work: FAMILIES.work.get_or_create(&labels).clone(),
        }
    }
}

/// Says whether this process holds a lease.
pub(crate) fn set_leader(lease: &str, leads: bool) {
    FAMILIES.leader.get_or_create(&labels(lease)).set(i64::from(leads));
}
