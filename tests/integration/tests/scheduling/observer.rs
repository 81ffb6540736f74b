//! Watches all pods, and holds at every moment what must always be true.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::api::core::v1::Pod;
use futures::StreamExt as _;
use kube::{Api, Client, runtime::watcher};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// A pod as last seen.
struct Seen {
    node: Option<String>,
    millis: i64,
}

#[derive(Default)]
struct State {
    /// Pods that exist, by UID.
    pods: BTreeMap<String, Seen>,
    /// Pods that were seen with a node, ever.
    bound: usize,
    created: usize,
    wrong: Vec<String>,
}

/// See the module.
pub(crate) struct Observer {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

type Capacity = Arc<dyn Fn(&str) -> i64 + Send + Sync>;

impl Observer {
    /// Observes from now on; `capacity` is what a node can take.
    pub(crate) fn start(client: Client, capacity: Capacity) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let task = tokio::task::spawn(async move {
            let mut events = watcher(Api::<Pod>::all(client), watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                let mut state = shared.lock();
                match event.expect("the observer's own watch holds") {
                    watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => state.seen(&pod, &capacity),
                    watcher::Event::Delete(pod) => drop(state.pods.remove(&pod.metadata.uid.unwrap())),
                    watcher::Event::Init | watcher::Event::InitDone => {}
                }
            }
        });
        Observer { state, task }
    }

    /// What pods request, with a node or without.
    pub(crate) fn used(&self) -> i64 {
        self.state.lock().pods.values().map(|pod| pod.millis).sum()
    }

    /// Ends, and fails where something was wrong at some moment.
    pub(crate) fn finish(self, created: usize) {
        self.task.abort();
        let state = self.state.lock();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        assert_eq!(state.created, created, "the observer saw every pod");
        assert!(
            state.pods.values().all(|pod| pod.node.is_some()) && state.bound > created / 2,
            "{} of {created} were bound",
            state.bound
        );
    }
}

impl State {
    fn seen(&mut self, pod: &Pod, capacity: &Capacity) {
        let uid = pod.metadata.uid.clone().unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let request = spec.containers[0].resources.as_ref().unwrap().requests.as_ref().unwrap()["cpu"].0.clone();
        let millis =
            request.strip_suffix('m').map_or_else(|| 1000 * request.parse::<i64>().unwrap(), |m| m.parse().unwrap());
        let before = self.pods.insert(uid.clone(), Seen { node: spec.node_name.clone(), millis });
        self.created += usize::from(before.is_none());
        let was = before.and_then(|seen| seen.node);
        match (&was, &spec.node_name) {
            (None, Some(node)) => {
                self.bound += 1;
                let sum: i64 = self.pods.values().filter(|p| p.node.as_ref() == Some(node)).map(|p| p.millis).sum();
                if sum > capacity(node) {
                    self.wrong.push(format!("{node} has {sum}m"));
                }
            }
            (Some(was), now) if Some(was) != now.as_ref() => {
                self.wrong.push(format!("{uid} went from {was} to {now:?}"))
            }
            _ => {}
        }
    }
}
