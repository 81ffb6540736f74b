//! What a node's heartbeats and conditions mean. Pure.

use api_types::k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Taint},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::Timestamp,
};
use component_helpers::{conditions, nodes, taints};
use kube::ResourceExt;

use crate::config::NodeLifecycle;

const MEMORY: &str = "node.kubernetes.io/memory-pressure";
const DISK: &str = "node.kubernetes.io/disk-pressure";
const PID: &str = "node.kubernetes.io/pid-pressure";
const NETWORK: &str = "node.kubernetes.io/network-unavailable";
/// Taints of effect NoSchedule that follow conditions.
const MANAGED: &[&str] = &[taints::NOT_READY, taints::UNREACHABLE, MEMORY, DISK, PID, NETWORK, taints::UNSCHEDULABLE];
/// Conditions that become unknown with the kubelet's silence.
const KUBELETS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// When a node was last heard, by this process's clock: clocks of nodes are not compared with ours.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard {
    pub(super) at: Timestamp,
    heartbeat: Option<Time>,
    ready: Option<String>,
    renewed: Option<MicroTime>,
}

/// Takes the newest signs of life in.
pub(super) fn listen(known: Option<&Heard>, node: &Node, lease: Option<&Lease>, now: Timestamp) -> Heard {
    let ready = ready(node);
    let heard = Heard {
        at: now,
        heartbeat: ready.and_then(|c| c.last_heartbeat_time.clone()),
        ready: ready.map(|c| c.status.clone()),
        renewed: lease.and_then(|l| l.spec.as_ref()).and_then(|s| s.renew_time.clone()),
    };
    match known {
        // A node without any status counts from its creation.
        None if ready.is_none() => Heard { at: node.creation_timestamp().map_or(now, |t| t.0), ..heard },
        None => heard,
        Some(known) => {
            let renewed = heard.renewed > known.renewed;
            let told = heard.heartbeat != known.heartbeat || heard.ready != known.ready;
            // Our own verdict is no sign of life.
            let ours = heard.ready.as_deref() == Some("Unknown");
            let alive = renewed || (told && !ours);
            Heard { at: if alive { now } else { known.at }, ..heard }
        }
    }
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    conditions::find(node.status.as_ref().and_then(|s| s.conditions.as_ref()), "Ready")
}

/// `True`, `False`, `Unknown`; a node that never reported is unknown.
pub(super) fn ready_status(node: &Node) -> &str {
    ready(node).map_or("Unknown", |c| c.status.as_str())
}

/// The conditions of a silent node, when that is news.
pub(super) fn silent(node: &Node, heard: &Heard, config: &NodeLifecycle, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let grace = if ready(node).is_some() { config.monitor_grace_period } else { config.startup_grace_period };
    let silence = now.as_second() - heard.at.as_second();
    if u64::try_from(silence).unwrap_or_default() <= grace.as_secs() {
        return None;
    }
    let before = node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut after = before.clone();
    for type_ in KUBELETS {
        match after.iter_mut().find(|c| c.type_ == *type_) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
            }
            None => after.push(NodeCondition {
                type_: (*type_).to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.creation_timestamp(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    (after != before).then_some(after)
}

/// The keys of NoSchedule taints that a node's conditions and spec ask for.
pub(super) fn wanted_taints(node: &Node) -> Vec<&'static str> {
    let mut wanted = Vec::new();
    for condition in node.status.iter().flat_map(|s| s.conditions.iter().flatten()) {
        wanted.extend(match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "False") => Some(taints::NOT_READY),
            ("Ready", "Unknown") => Some(taints::UNREACHABLE),
            ("MemoryPressure", "True") => Some(MEMORY),
            ("DiskPressure", "True") => Some(DISK),
            ("PIDPressure", "True") => Some(PID),
            ("NetworkUnavailable", "True") => Some(NETWORK),
            _ => None,
        });
    }
    if nodes::is_unschedulable(node) {
        wanted.push(taints::UNSCHEDULABLE);
    }
    wanted
}

/// The key of the NoExecute taint of a node that is not ready.
pub(super) fn eviction_taint(node: &Node) -> Option<&'static str> {
    match ready_status(node) {
        "True" => None,
        "False" => Some(taints::NOT_READY),
        _ => Some(taints::UNREACHABLE),
    }
}

/// Whether the node's NoExecute taint is not the wanted one.
pub(super) fn needs_eviction_change(node: &Node, wanted: Option<&str>) -> bool {
    let has = |key: &str| nodes::node_taints(node).iter().any(|t| t.key == key && t.effect == taints::NO_EXECUTE);
    [taints::NOT_READY, taints::UNREACHABLE].into_iter().any(|key| has(key) != (wanted == Some(key)))
}

/// All taints of the node as they should be, when that differs. `evict`: the NoExecute taint; none = leave those alone.
pub(super) fn taints(node: &Node, evict: Option<Option<&str>>, now: Timestamp) -> Option<Vec<Taint>> {
    let before = nodes::node_taints(node);
    let wanted = wanted_taints(node);
    let ours = |t: &Taint| {
        (t.effect == taints::NO_SCHEDULE && MANAGED.contains(&t.key.as_str()))
            || (t.effect == taints::NO_EXECUTE
                && evict.is_some()
                && [taints::NOT_READY, taints::UNREACHABLE].contains(&t.key.as_str()))
    };
    let keep = |t: &Taint| match t.effect.as_str() {
        taints::NO_EXECUTE => evict.flatten() == Some(t.key.as_str()),
        _ => wanted.contains(&t.key.as_str()),
    };
    let mut after: Vec<_> = before.iter().filter(|t| !ours(t) || keep(t)).cloned().collect();
    let add = wanted.iter().map(|key| (*key, taints::NO_SCHEDULE));
    for (key, effect) in add.chain(evict.flatten().map(|key| (key, taints::NO_EXECUTE))) {
        if !after.iter().any(|t| t.key == key && t.effect == effect) {
            after.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (after != before).then_some(after)
}
