//! How fast nodes of a zone may be tainted for eviction. Pure.
//!
//! A zone with few nodes lost evicts at the usual rate; one with many evicts slower, or, in a small cluster, not at all; when every
//! zone is lost completely, it is rather us who are cut off, and nothing is evicted.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use kube::ResourceExt;

use super::plan;
use crate::config::NodeLifecycle;

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Normal,
    Partial,
    Full,
}

/// The zone of a node.
pub(super) fn of(node: &Node) -> String {
    let label = |key| node.labels().get(key).map(String::as_str).unwrap_or_default();
    format!("{}:{}", label(REGION), label(ZONE))
}

#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: BTreeMap<String, Bucket>,
    all_lost: bool,
}

/// A bucket of one node that refills by the zone's rate.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    since: Timestamp,
}

pub(super) fn state(ready: usize, not_ready: usize, threshold: f64) -> State {
    if ready == 0 && not_ready > 0 {
        return State::Full;
    }
    let part = not_ready as f64 / (ready + not_ready).max(1) as f64;
    if not_ready > 2 && part >= threshold { State::Partial } else { State::Normal }
}

impl Zones {
    /// Looks at all nodes anew.
    pub(super) fn update<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>, config: &NodeLifecycle, now: Timestamp) {
        let mut counts = BTreeMap::<String, (usize, usize)>::new();
        for node in nodes {
            let (ready, not_ready) = counts.entry(of(node)).or_default();
            *(if plan::ready_status(node) == "True" { ready } else { not_ready }) += 1;
        }
        let states: BTreeMap<_, _> = counts
            .iter()
            .map(|(zone, (ready, not))| (zone, (state(*ready, *not, config.unhealthy_zone_threshold), ready + not)))
            .collect();
        self.all_lost = !states.is_empty() && states.values().all(|(state, _)| *state == State::Full);
        self.zones.retain(|zone, _| states.contains_key(zone));
        for (zone, (state, size)) in states {
            let rate = match state {
                State::Normal | State::Full => config.eviction_rate,
                State::Partial if size > config.large_cluster_size => config.secondary_eviction_rate,
                State::Partial => 0.0,
            };
            let bucket = self.zones.entry(zone.clone()).or_insert(Bucket { rate, tokens: 1.0, since: now });
            let elapsed = now.duration_since(bucket.since).as_secs_f64().max(0.0);
            bucket.tokens = (bucket.tokens + elapsed * bucket.rate).min(1.0);
            (bucket.rate, bucket.since) = (rate, now);
        }
    }

    /// Whether everything is lost: then nothing is evicted, and what was tainted is released.
    pub(super) fn all_lost(&self) -> bool {
        self.all_lost
    }

    /// Whether one more node of the zone may be tainted now.
    pub(super) fn take(&mut self, zone: &str) -> bool {
        let Some(bucket) = self.zones.get_mut(zone) else { return false };
        let allowed = bucket.rate > 0.0 && bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}
