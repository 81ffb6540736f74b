use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::binder::BindError;

mod permit;

/// Keeps what would be written.
#[derive(Clone, Default)]
struct Kept {
    binds: Arc<Mutex<Vec<Bind>>>,
    failures: Arc<Mutex<Vec<Failure>>>,
    nominations: Arc<Mutex<Vec<String>>>,
}

impl Writer for Kept {
    fn bind(&self, bind: Bind) {
        self.binds.lock().push(bind);
    }
    fn fail(&self, failure: Failure) {
        self.failures.lock().push(failure);
    }
    fn nominate(&self, pod: &Arc<PodInfo>, node: &str) {
        self.nominations.lock().push(format!("{}->{node}", pod.name()));
    }
}

struct Fixture {
    scheduler: Scheduler<Kept>,
    kept: Kept,
}

impl Fixture {
    fn new() -> Self {
        Fixture::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        let kept = Kept::default();
        Fixture { scheduler: Scheduler::new(config, kept.clone()).unwrap(), kept }
    }

    fn add_node(&mut self, name: &str, cpu: &str) {
        let node =
            json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}}});
        self.scheduler.take_in(Change::Node(Event::Added(Arc::new(serde_json::from_value(node).unwrap()))));
    }

    fn add(&mut self, pod: &Arc<Pod>) {
        self.scheduler.take_in(Change::Pod(Event::Added(pod.clone())));
    }

    /// Tries every pod that is due, and gives what was bound.
    fn settle(&mut self) -> Vec<String> {
        while let Some(waiting) = self.scheduler.queue.pop() {
            self.scheduler.attempt(waiting);
        }
        self.kept.binds.lock().iter().map(|b| format!("{}->{}", b.waiting.pod.name(), b.node)).collect()
    }
}

fn pod(name: &str, cpu: &str, spec: Value) -> Arc<Pod> {
    let mut pod = json!({"metadata": {"name": name, "namespace": "d", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(pod).unwrap())
}

#[tokio::test(start_paused = true)]
async fn no_overcommit_before_the_watch_confirms() {
    let mut f = Fixture::new();
    f.add_node("n1", "1");
    f.add(&pod("a", "600m", json!({})));
    f.add(&pod("b", "600m", json!({})));
    assert_eq!(f.settle(), ["a->n1"]);
    let failures = f.kept.failures.lock();
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0].message.starts_with("0/1 nodes are available: 1 Insufficient cpu. "),
        "{}",
        failures[0].message
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_binding_frees_the_node_and_is_tried_again() {
    let mut f = Fixture::new();
    f.add_node("n1", "1");
    f.add(&pod("a", "600m", json!({})));
    f.add(&pod("b", "600m", json!({})));
    assert_eq!(f.settle(), ["a->n1"]);
    let bind = f.kept.binds.lock().pop().unwrap();
    let error = Some(BindError { message: "conflict".into(), is_gone: false });
    f.scheduler.take_in(Change::Bound(Box::new(Outcome { bind, error, claims: Vec::new() })));
    assert_eq!(f.settle(), ["b->n1"], "the freed room goes to who waits");
    f.scheduler.queue.flush(Instant::now() + std::time::Duration::from_secs(2));
    assert_eq!(f.settle(), ["b->n1"], "and the failed one waits for room");
    assert_eq!(f.kept.failures.lock().last().unwrap().reason, "Unschedulable");
}

#[tokio::test(start_paused = true)]
async fn a_new_node_wakes_only_pods_that_it_fits() {
    let mut f = Fixture::new();
    f.add(&pod("big", "8", json!({})));
    f.add(&pod("small", "1", json!({})));
    f.add_node("tiny", "100m");
    assert!(f.settle().is_empty());
    assert_eq!(f.scheduler.queue.counts().pending, 2);
    f.add_node("n1", "2");
    assert_eq!(f.settle(), ["small->n1"]);
    assert_eq!(f.scheduler.queue.counts().pending, 1);
}

#[tokio::test(start_paused = true)]
async fn gates_open_by_update() {
    let mut f = Fixture::new();
    f.add_node("n1", "2");
    let gated = pod("a", "1", json!({"schedulingGates": [{"name": "x"}]}));
    f.add(&gated);
    assert!(f.settle().is_empty());
    let open = pod("a", "1", json!({}));
    f.scheduler.take_in(Change::Pod(Event::Updated { old: gated, new: open }));
    assert_eq!(f.settle(), ["a->n1"]);
}

#[tokio::test(start_paused = true)]
async fn preemption_evicts_and_reserves_the_room() {
    let mut f = Fixture::new();
    f.add_node("n1", "1");
    let mut running = (*pod("old", "800m", json!({"priority": 1}))).clone();
    running.spec.as_mut().unwrap().node_name = Some("n1".into());
    let running = Arc::new(running);
    f.add(&running);
    f.add(&pod("vip", "800m", json!({"priority": 10})));
    assert!(f.settle().is_empty());
    {
        let failures = f.kept.failures.lock();
        assert_eq!(failures[0].victims.iter().map(|v| v.name().to_owned()).collect::<Vec<_>>(), ["old"]);
        assert_eq!(failures[0].nominate.as_deref(), Some("n1"));
    }
    f.scheduler.take_in(Change::Pod(Event::Deleted(running)));
    f.add(&pod("sneaky", "800m", json!({"priority": 2})));
    assert_eq!(f.settle(), ["vip->n1"], "the room that was made is not given to a lesser pod");
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_pod() {
    let mut f = Fixture::new();
    f.add_node("n1", "4");
    let first = pod("a", "1", json!({}));
    f.add(&first);
    assert_eq!(f.settle(), ["a->n1"]);
    f.scheduler.take_in(Change::Pod(Event::Deleted(first)));
    let mut second = (*pod("a", "1", json!({}))).clone();
    second.metadata.uid = Some("second".into());
    f.add(&Arc::new(second));
    assert_eq!(f.settle(), ["a->n1", "a->n1"]);
    let bind = f.kept.binds.lock().remove(0);
    let error = Some(BindError { message: "gone".into(), is_gone: true });
    f.scheduler.take_in(Change::Bound(Box::new(Outcome { bind, error, claims: Vec::new() })));
    assert!(f.scheduler.cache.is_assumed("d/a"), "the first one's failure does not undo the second");
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_running_pod_wakes_nobody() {
    let mut f = Fixture::new();
    f.add_node("n1", "1");
    let running = pod("old", "800m", json!({"nodeName": "n1"}));
    f.add(&running);
    f.add(&pod("new", "800m", json!({})));
    assert!(f.settle().is_empty());
    let mut ready = (*running).clone();
    ready.status.get_or_insert_default().phase = Some("Running".into());
    let ready = Arc::new(ready);
    f.scheduler.take_in(Change::Pod(Event::Updated { old: running, new: ready.clone() }));
    assert_eq!(f.scheduler.queue.counts().pending, 1);
    let smaller = pod("old", "100m", json!({"nodeName": "n1"}));
    f.scheduler.take_in(Change::Pod(Event::Updated { old: ready, new: smaller }));
    assert_eq!(f.settle(), ["new->n1"]);
}
