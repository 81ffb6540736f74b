//! Tables over the plan and the zones.

use std::time::Duration;

use api_types::k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::{SignedDuration, Timestamp},
};
use serde_json::json;

use super::{
    plan,
    zones::{self, State, Zones},
};
use crate::config::NodeLifecycle;

fn config() -> NodeLifecycle {
    NodeLifecycle {
        monitor_period: Duration::from_secs(5),
        monitor_grace_period: Duration::from_secs(50),
        startup_grace_period: Duration::from_secs(60),
        eviction_rate: 0.1,
        secondary_eviction_rate: 0.01,
        unhealthy_zone_threshold: 0.55,
        large_cluster_size: 50,
    }
}

fn node(ready: Option<&str>, taints: serde_json::Value) -> Node {
    let conditions: Vec<_> = ready
        .iter()
        .map(|status| json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"taints": taints}, "status": {"conditions": conditions}
    }))
    .unwrap()
}

fn lease(renewed: &str) -> Lease {
    serde_json::from_value(json!({"metadata": {}, "spec": {"renewTime": renewed}})).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

#[test]
fn a_renewed_lease_is_a_sign_of_life_and_our_own_verdict_is_not() {
    let ready = node(Some("True"), json!([]));
    let first = lease("2026-01-01T00:00:00.000000Z");
    let heard = plan::listen(None, &ready, Some(&first), at(0));
    let same = plan::listen(Some(&heard), &ready, Some(&first), at(30));
    assert_eq!(same.at, at(0));
    let renewed = plan::listen(Some(&same), &ready, Some(&lease("2026-01-01T00:00:10.000000Z")), at(40));
    assert_eq!(renewed.at, at(40));
    let unknown = plan::listen(Some(&renewed), &node(Some("Unknown"), json!([])), Some(&first), at(100));
    assert_eq!(unknown.at, at(40));
    let back = plan::listen(Some(&unknown), &ready, Some(&first), at(120));
    assert_eq!(back.at, at(120));
}

#[test]
fn silence_becomes_unknown_once() {
    let ready = node(Some("True"), json!([]));
    let heard = plan::listen(None, &ready, None, at(0));
    assert!(plan::silent(&ready, &heard, &config(), at(50)).is_none());
    let conditions = plan::silent(&ready, &heard, &config(), at(51)).unwrap();
    assert_eq!(conditions.len(), 4);
    assert!(conditions.iter().all(|c| c.status == "Unknown"));
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    let mut lost = ready.clone();
    lost.status.as_mut().unwrap().conditions = Some(conditions);
    assert!(plan::silent(&lost, &heard, &config(), at(60)).is_none());
    // A new node has longer.
    let new = node(None, json!([]));
    let heard = plan::listen(None, &new, None, at(30));
    assert!(plan::silent(&new, &heard, &config(), at(60)).is_none());
    assert!(plan::silent(&new, &heard, &config(), at(61)).is_some());
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    let keys = |node: &Node, evict| {
        let taints = plan::taints(node, evict, at(0))?;
        Some(taints.iter().map(|t| format!("{}:{}", t.key.rsplit('/').next().unwrap(), t.effect)).collect::<Vec<_>>())
    };
    let own = json!([{"key": "mine", "effect": "NoExecute"}]);
    assert_eq!(keys(&node(Some("True"), own.clone()), None), None);
    assert_eq!(keys(&node(Some("False"), own), None).unwrap(), ["mine:NoExecute", "not-ready:NoSchedule"]);
    let lost = node(Some("Unknown"), json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
    assert_eq!(plan::eviction_taint(&lost), Some("node.kubernetes.io/unreachable"));
    assert_eq!(
        keys(&lost, Some(plan::eviction_taint(&lost))).unwrap(),
        ["unreachable:NoSchedule", "unreachable:NoExecute"]
    );
    let back = node(Some("True"), json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]));
    assert!(plan::needs_eviction_change(&back, None));
    assert_eq!(keys(&back, Some(None)).unwrap(), [""; 0]);
    assert_eq!(keys(&back, None), None, "without a verdict they stay");
}

#[test]
fn zones_slow_down_when_many_nodes_are_lost() {
    for (ready, not, want) in [
        (3, 0, State::Normal),
        (0, 1, State::Full),
        (1, 2, State::Normal),
        (2, 3, State::Partial),
        (10, 3, State::Normal),
    ] {
        assert_eq!(zones::state(ready, not, 0.55), want, "{ready} {not}");
    }
    let (up, down) = (node(Some("True"), json!([])), node(Some("Unknown"), json!([])));
    let mut zones = Zones::default();
    zones.update([&up, &down, &up].into_iter(), &config(), at(0));
    assert!(zones.take(":") && !zones.take(":"), "one, then the rate");
    zones.update([&up, &down, &up].into_iter(), &config(), at(9));
    assert!(!zones.take(":"));
    zones.update([&up, &down, &up].into_iter(), &config(), at(11));
    assert!(zones.take(":"));
    zones.update([&down, &down].into_iter(), &config(), at(12));
    assert!(zones.all_lost());
    zones.update([&up, &down, &down, &down].into_iter(), &config(), at(100));
    assert!(!zones.all_lost() && !zones.take(":"), "small and mostly lost: nothing is evicted");
}
