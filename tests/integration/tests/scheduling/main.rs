//! Schedulers in trouble, on a paused clock and from seeds: crashes between a decision and its binding, lost requests and answers, lost
//! watches, bindings by somebody else, nodes that go, two schedulers that take over from each other. No pod is lost, none is bound
//! twice, no node is overcommitted at any moment. `KEELSON_SEEDS` says how many lives there are of each kind.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod observer;

use std::{sync::Arc, time::Duration};

use api_types::k8s_openapi::api::core::v1::{Node, Pod};
use component_base::rng;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use kube_scheduler::{Process, options::LeaderOptions};
use observer::Observer;
use serde_json::json;
use testkit::{Cluster, Fault, Network, Options, SCHEDULER, builders::namespace, eventually, simulate};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NODES: u64 = 8;
const NODE_MILLIS: i64 = 4000;
const ROUNDS: usize = 30;
/// A node that no scheduler uses: another hand binds pods to it.
const SPARE: &str = "spare";

fn chance(percent: u64) -> bool {
    rng::range(0..100) < percent
}

/// A scheduler that can be stopped at any moment, with its own network.
struct Scheduler {
    network: Network,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Life {
    cluster: Cluster,
    admin: Client,
    schedulers: Vec<Scheduler>,
    pods: usize,
    nodes: u64,
}

impl Life {
    async fn start(schedulers: usize) -> Self {
        let disabled = "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition";
        let options =
            Options { nodes: 0, bare: true, apiserver_flags: vec![disabled.to_owned()], ..Options::default() };
        let cluster = Cluster::start(options).await.unwrap();
        let admin = cluster.admin();
        let mut life = Life { cluster, admin, schedulers: Vec::new(), pods: 0, nodes: 0 };
        Api::all(life.admin.clone()).create(&PostParams::default(), &namespace("shop")).await.unwrap();
        for _ in 0..NODES {
            life.add_node().await;
        }
        let spare = node(SPARE, true);
        Api::<Node>::all(life.admin.clone()).create(&PostParams::default(), &spare).await.unwrap();
        for _ in 0..schedulers {
            life.add_scheduler(schedulers > 1);
        }
        life
    }

    fn add_scheduler(&mut self, elect: bool) {
        let (network, stop) = (Network::default(), CancellationToken::new());
        let leader = elect.then(|| LeaderOptions {
            namespace: "kube-system".into(),
            name: "kube-scheduler".into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        });
        let client = self.cluster.client_behind(&network, SCHEDULER, &[]);
        let task = self.cluster.start_scheduler(client, Process { leader, port: None }, stop.clone());
        self.schedulers.push(Scheduler { network, stop, task });
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), "shop")
    }

    async fn add_node(&mut self) {
        let node = node(&format!("node-{}", self.nodes), false);
        self.nodes += 1;
        Api::<Node>::all(self.admin.clone()).create(&PostParams::default(), &node).await.unwrap();
    }

    async fn add_pods(&mut self, count: u64) {
        for _ in 0..count {
            let cpu = format!("{}m", 100 * rng::range(3..12));
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{}", self.pods), "labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
            self.pods += 1;
            self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        }
    }

    /// Some pod whose being bound is as given.
    async fn some_pod(&self, bound: bool) -> Option<String> {
        let all = self.pods().list(&ListParams::default()).await.unwrap().items;
        let is_bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let names: Vec<_> = all.into_iter().filter(|p| is_bound(p) == bound).filter_map(|p| p.metadata.name).collect();
        (!names.is_empty()).then(|| names[rng::range(0..names.len() as u64) as usize].clone())
    }

    async fn delete_a_pod(&self) {
        if let Some(name) = self.some_pod(true).await {
            self.pods().delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }

    /// Another hand binds a pod that a scheduler may be binding right now.
    async fn steal_a_pod(&self) {
        let Some(name) = self.some_pod(false).await else { return };
        let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": SPARE}});
        // The scheduler may have been quicker.
        let _ = self
            .pods()
            .create_subresource::<_, serde_json::Value>("binding", &name, &PostParams::default(), &binding)
            .await;
    }

    /// A node goes with its pods, as the collector of orphans would see to; another comes.
    async fn replace_a_node(&mut self) {
        let nodes: Api<Node> = Api::all(self.admin.clone());
        let all = nodes.list(&ListParams::default()).await.unwrap().items;
        let names: Vec<_> = all.into_iter().filter_map(|n| n.metadata.name).filter(|name| name != SPARE).collect();
        let name = names[rng::range(0..names.len() as u64) as usize].clone();
        nodes.delete(&name, &DeleteParams::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rng::range(0..2000))).await;
        let on_it = ListParams::default().fields(&format!("spec.nodeName={name}"));
        for pod in self.pods().list(&on_it).await.unwrap() {
            self.pods().delete(&pod.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
        }
        self.add_node().await;
    }

    /// The process is gone in the middle of what it does; another starts.
    fn crash(&mut self, elect: bool) {
        let at = rng::range(0..self.schedulers.len() as u64) as usize;
        let gone = self.schedulers.remove(at);
        // What a killed process has not sent by now is never sent.
        gone.network.set(|_| Fault::Hang);
        gone.network.cut();
        gone.stop.cancel();
        gone.task.abort();
        self.add_scheduler(elect);
    }

    /// Who ended by itself, for having lost the lease, is started again.
    fn revive(&mut self) {
        let before = self.schedulers.len();
        self.schedulers.retain(|scheduler| !scheduler.task.is_finished());
        for _ in self.schedulers.len()..before {
            self.add_scheduler(true);
        }
    }

    /// Nothing fails any more: every pod that is left gets its node.
    async fn heal(&mut self) {
        self.schedulers.iter().for_each(|scheduler| scheduler.network.heal());
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            self.revive();
        }
        let bound = || async {
            let all = self.pods().list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let waiting: Vec<_> =
                all.iter().filter(|p| p.spec.as_ref().unwrap().node_name.is_none()).map(describe).collect();
            if waiting.is_empty() {
                Ok(())
            } else {
                Err(format!("{} of {} wait: {waiting:?}", waiting.len(), all.len()))
            }
        };
        eventually(Duration::from_secs(1200), "every pod bound", bound).await;
    }

    async fn stop(self) {
        self.schedulers.iter().for_each(|scheduler| scheduler.stop.cancel());
        self.cluster.stop().await;
    }
}

fn describe(pod: &Pod) -> String {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    format!(
        "{:?}: {:?}",
        pod.metadata.name,
        conditions.into_iter().find(|c| c.type_ == "PodScheduled").and_then(|c| c.message)
    )
}

fn node(name: &str, unschedulable: bool) -> Node {
    let millis = if unschedulable { 1_000_000 } else { NODE_MILLIS };
    let resources = json!({"cpu": format!("{millis}m"), "memory": "64Gi", "pods": "500"});
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": unschedulable},
        "status": {"allocatable": resources, "capacity": resources}});
    serde_json::from_value(node).unwrap()
}

/// A network that fails for so many percent of the requests of each kind.
fn unreliable(network: &Network, percent: u64) {
    network.set(move |request| {
        let is_binding = request.uri().path().ends_with("/binding");
        if is_binding && chance(30) {
            return Fault::Delay(Duration::from_millis(rng::range(0..3000)));
        }
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        match rng::range(0..100 * 4) / percent.max(1) {
            0 => Fault::LoseRequest,
            1 if !watch => Fault::LoseAnswer,
            2 if is_binding => Fault::Hang,
            3 if watch => Fault::Gone,
            _ => Fault::None,
        }
    });
}

/// Keeps the cluster about two thirds full.
async fn keep_busy(life: &mut Life, observer: &Observer) {
    let used = observer.used();
    let room = NODES as i64 * NODE_MILLIS * 2 / 3;
    if used < room {
        life.add_pods(rng::range(1..5)).await;
    } else {
        life.delete_a_pod().await;
    }
}

async fn one_in_trouble() {
    let mut life = Life::start(1).await;
    let observer = Observer::start(life.admin.clone(), capacities());
    for _ in 0..ROUNDS {
        keep_busy(&mut life, &observer).await;
        tokio::time::sleep(Duration::from_millis(rng::range(0..3000))).await;
        match rng::range(0..7) {
            0 => life.crash(false),
            1 => life.schedulers[0].network.cut(),
            2 => unreliable(&life.schedulers[0].network, rng::range(0..40)),
            3 => life.schedulers[0].network.heal(),
            4 => life.steal_a_pod().await,
            5 if chance(50) => life.replace_a_node().await,
            _ => {}
        }
    }
    life.heal().await;
    observer.finish(life.pods);
    life.stop().await;
}

async fn two_in_turn() {
    let mut life = Life::start(2).await;
    let observer = Observer::start(life.admin.clone(), capacities());
    for _ in 0..ROUNDS {
        keep_busy(&mut life, &observer).await;
        tokio::time::sleep(Duration::from_millis(rng::range(0..8000))).await;
        life.revive();
        let at = rng::range(0..2) as usize;
        match rng::range(0..6) {
            0 => life.crash(true),
            // It cannot renew its lease, nor do anything else.
            1 => life.schedulers[at].network.set(|_| Fault::LoseRequest),
            2 => unreliable(&life.schedulers[at].network, rng::range(0..40)),
            3 => life.schedulers.iter().for_each(|scheduler| scheduler.network.heal()),
            4 => life.schedulers[at].network.cut(),
            _ => {}
        }
    }
    life.heal().await;
    observer.finish(life.pods);
    life.stop().await;
}

/// What each node can take; those that will come are as large as the others.
fn capacities() -> Arc<dyn Fn(&str) -> i64 + Send + Sync> {
    Arc::new(|node| if node == SPARE { i64::MAX } else { NODE_MILLIS })
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("KEELSON_SEEDS").map_or(3, |text| text.parse().expect("KEELSON_SEEDS is a number"))
}

#[test]
fn a_scheduler_in_trouble_loses_and_doubles_nothing() {
    seeds().for_each(|seed| simulate(seed, one_in_trouble));
}

#[test]
fn two_schedulers_take_over_from_each_other() {
    seeds().for_each(|seed| simulate(100 + seed, two_in_turn));
}
