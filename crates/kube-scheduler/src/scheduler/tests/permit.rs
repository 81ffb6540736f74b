//! Permit, Unreserve and PostBind, through a plugin that is not Kubernetes' own.

use std::time::Duration;

use super::*;
use crate::framework::{Context, Descriptor, Permit, Plugin, Refusal, Registry, Verdicts, WaitingPod};

/// Pods with the same `gang` label are bound together, once there are two of them.
struct Gang;

static GANG: Descriptor = Descriptor {
    name: "Gang",
    points: &[Point::Reserve, Point::Permit, Point::PostBind],
    weight: 0,
    build: |_| Ok(Arc::new(Gang)),
};

static LATE: Descriptor =
    Descriptor { name: "Late", points: &[Point::Reserve], weight: 0, build: |_| Ok(Arc::new(Late)) };

/// What the plugins heard; each test has names of its own.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn gang(pod: &PodInfo) -> Option<&String> {
    pod.labels().and_then(|labels| labels.get("gang"))
}

impl Plugin for Gang {
    fn permit(&self, cx: Context<'_>, _node: &str, waiting: &crate::framework::WaitingPods) -> (Permit, Verdicts) {
        let Some(name) = gang(cx.pod) else { return (Permit::Allow, Verdicts::default()) };
        if name == "unwanted" {
            return (Permit::Refuse(Refusal::unresolvable("gang is unwanted")), Verdicts::default());
        }
        let others: Vec<_> = waiting.iter().filter(|w: &&WaitingPod| gang(&w.pod) == Some(name)).collect();
        if others.is_empty() {
            return (Permit::Wait(Duration::from_secs(10)), Verdicts::default());
        }
        let allow = others.iter().map(|w| w.pod.uid.clone()).collect();
        (Permit::Allow, Verdicts { allow, ..Verdicts::default() })
    }

    fn unreserve(&self, pod: &PodInfo, node: &str, _waiting: &crate::framework::WaitingPods) -> Verdicts {
        HEARD.lock().push(format!("Gang unreserves {} {node}", pod.name()));
        Verdicts::default()
    }

    fn post_bind(&self, pod: &PodInfo, node: &str) {
        HEARD.lock().push(format!("Gang bound {} {node}", pod.name()));
    }
}

struct Late;

impl Plugin for Late {
    fn unreserve(&self, pod: &PodInfo, node: &str, _waiting: &crate::framework::WaitingPods) -> Verdicts {
        HEARD.lock().push(format!("Late unreserves {} {node}", pod.name()));
        Verdicts::default()
    }
}

fn heard(pod: &str) -> Vec<String> {
    HEARD.lock().iter().filter(|line| line.contains(pod)).cloned().collect()
}

fn fixture() -> Fixture {
    let plugins = json!({"multiPoint": {"enabled": [{"name": "Gang"}, {"name": "Late"}]}});
    let profile = serde_json::from_value(json!({"plugins": plugins})).unwrap();
    let config =
        Config { profiles: vec![profile], registry: Registry::default().with(&GANG).with(&LATE), ..Config::default() };
    let mut fixture = Fixture::with(&config);
    fixture.add_node("n1", "1");
    fixture
}

fn member(name: &str, gang: &str, spec: Value) -> Arc<Pod> {
    let mut pod = (*pod(name, "400m", spec)).clone();
    pod.metadata.labels = Some([("gang".to_owned(), gang.to_owned())].into());
    Arc::new(pod)
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_gang() {
    let mut f = fixture();
    f.add(&member("g1", "a", json!({})));
    assert!(f.settle().is_empty());
    assert_eq!(*f.kept.nominations.lock(), ["g1->n1"], "others are told where it will go");
    assert!(f.scheduler.cache.is_assumed("d/g1"), "its room is taken");
    f.add(&member("g2", "a", json!({})));
    let mut bound = f.settle();
    bound.sort();
    assert_eq!(bound, ["g1->n1", "g2->n1"]);
    let bind = f.kept.binds.lock().pop().unwrap();
    let name = bind.waiting.pod.name().to_owned();
    f.scheduler.take_in(Change::Bound(Box::new(Outcome { bind, error: None, claims: Vec::new() })));
    assert_eq!(heard(&name), [format!("Gang bound {name} n1")]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_too_long_is_sent_back_and_leaves_the_room_to_others() {
    let mut f = fixture();
    f.add(&member("t1", "b", json!({})));
    f.add(&pod("other", "800m", json!({})));
    assert!(f.settle().is_empty(), "the room is taken by the one that waits");
    tokio::time::advance(Duration::from_secs(10)).await;
    f.scheduler.expire_permits();
    assert_eq!(f.settle(), ["other->n1"]);
    let failures = f.kept.failures.lock();
    let failure = failures.iter().find(|failure| failure.pod.name() == "t1").unwrap();
    let want = "0/1 nodes are available: 1 rejected due to timeout after waiting 10s at plugin Gang.";
    assert_eq!(failure.message, want);
    assert_eq!(failure.nominate.as_deref(), Some(""), "it is not about to be bound any more");
    assert_eq!(heard("t1"), ["Late unreserves t1 n1", "Gang unreserves t1 n1"], "the last first");
    assert_eq!(f.scheduler.queue.counts().pending, 1, "it waits for a change");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_of_the_one_node() {
    let mut f = fixture();
    f.add_node("n2", "1");
    f.add(&member("r1", "unwanted", json!({})));
    assert!(f.settle().is_empty());
    assert_eq!(f.kept.failures.lock()[0].message, "0/1 nodes are available: 1 gang is unwanted.");
    assert!(!f.scheduler.cache.is_assumed("d/r1"));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_pod_that_is_deleted_is_forgotten() {
    let mut f = fixture();
    let gone = member("d1", "c", json!({}));
    f.add(&gone);
    assert!(f.settle().is_empty());
    f.scheduler.take_in(Change::Pod(Event::Deleted(gone)));
    f.add(&pod("next", "1", json!({})));
    assert_eq!(f.settle(), ["next->n1"]);
    assert!(f.scheduler.permits.next_deadline().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_victim_is_sent_back_not_evicted() {
    let mut f = fixture();
    f.add(&member("v1", "e", json!({"priority": 1})));
    assert!(f.settle().is_empty());
    f.add(&pod("vip", "800m", json!({"priority": 10})));
    f.settle();
    let failures = f.kept.failures.lock();
    let message = |name: &str| failures.iter().find(|f| f.pod.name() == name).map(|f| f.message.clone());
    assert_eq!(message("v1").as_deref(), Some("0/1 nodes are available: 1 preempted."));
    assert!(failures.iter().all(|failure| failure.victims.is_empty()));
}
