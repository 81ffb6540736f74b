//! Random clusters, judged by the scheduler and by a second, naive implementation: the same nodes are feasible, the scores are the same.
//!
//! Each cluster lives on while pods of a few kinds come one after another and nodes and pods change: what the scheduler keeps
//! between decisions must not show. `KEELSON_CLUSTERS` says how many clusters there are (default 300), `KEELSON_SEED` which is the first.
#![allow(clippy::unwrap_used, reason = "a failure anywhere in this file is the failure of a test")]

mod naive;
mod random;

use std::{collections::BTreeMap, sync::Arc};

use kube_scheduler::{
    cache::{Cache, PodInfo},
    config::ProfileConfig,
    framework::Profile,
    schedule::schedule,
};
use naive::World;
use random::Dice;
use serde_json::{Value, json};

const KINDS: usize = 3;
const PODS: usize = 8;

/// The same cluster twice.
struct Twins {
    cache: Cache,
    world: World,
}

fn typed<T: serde::de::DeserializeOwned>(object: &Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}")))
}

fn info(pod: &Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(typed(pod)))
}

impl Twins {
    fn new(dice: &mut Dice, kinds: &[Value]) -> Self {
        let mut twins = Twins { cache: Cache::default(), world: World::default() };
        for namespace in random::namespaces() {
            let name = namespace["metadata"]["name"].as_str().unwrap().to_owned();
            twins.cache.snapshot.catalog.namespaces.insert(name, typed(&namespace));
            twins.world.namespaces.push(namespace);
        }
        let nodes = 2 + dice.below(10);
        (0..nodes).for_each(|n| twins.set_node(random::node(dice, &format!("n{n}"))));
        for n in 0..dice.below(20) {
            let kind = &kinds[dice.below(kinds.len())];
            twins.add_pod(random::pod(kind, &format!("old-{n}"), Some(&format!("n{}", dice.below(nodes)))));
        }
        twins
    }

    fn set_node(&mut self, node: Value) {
        self.cache.set_node(typed(&node));
        self.world.nodes.retain(|known| known["metadata"]["name"] != node["metadata"]["name"]);
        self.world.nodes.push(node);
    }

    fn add_pod(&mut self, pod: Value) {
        self.cache.set_pod(info(&pod));
        self.world.pods.push(pod);
    }

    /// Something changes between two pods.
    fn change(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => {
                let name = format!("n{}", dice.below(12));
                self.set_node(random::node(dice, &name));
            }
            1 if !self.world.pods.is_empty() => {
                let pod = self.world.pods.remove(dice.below(self.world.pods.len()));
                self.cache.remove_pod(&info(&pod).key);
            }
            2 if !self.world.pods.is_empty() => {
                let at = dice.below(self.world.pods.len());
                self.world.pods[at]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                let pod = self.world.pods[at].clone();
                self.cache.set_pod(info(&pod));
            }
            3 if self.world.nodes.len() > 2 => {
                let node = self.world.nodes.remove(dice.below(self.world.nodes.len()));
                self.cache.remove_node(node["metadata"]["name"].as_str().unwrap());
            }
            _ => {}
        }
    }

    /// Places the pod and says what the two disagree about.
    fn place(&mut self, profile: &Profile, dice: &mut Dice, start: &mut usize, pod: Value) -> Result<bool, String> {
        self.cache.snapshot.settle();
        let want: Vec<String> = self.world.feasible(&pod).into_iter().collect();
        let judged = info(&pod);
        let decision = schedule(profile, &self.cache.snapshot, &judged, start, &mut |n| dice.below(n));
        let Ok(decision) = decision else {
            return if want.is_empty() { Ok(false) } else { Err(format!("feasible: want {want:?}, got none")) };
        };
        let order: Vec<String> = decision.feasible.iter().map(|node| node.name().to_owned()).collect();
        let mut got = order.clone();
        got.sort();
        if got != want {
            return Err(format!("feasible: want {want:?}, got {got:?}"));
        }
        compare(&self.world.scores(&pod, &order), &decision.scores, order.len())?;
        let node = decision.node.name().to_owned();
        self.cache.assume(Arc::new(judged.assigned_to(&node)), &node);
        let mut bound = pod;
        bound["spec"]["nodeName"] = json!(node);
        // Half of them are confirmed, as the watch would.
        if dice.chance(50) {
            self.cache.set_pod(info(&bound));
        }
        self.world.pods.push(bound);
        Ok(true)
    }
}

fn compare(
    want: &BTreeMap<&'static str, Vec<i64>>,
    got: &[(&'static str, Vec<i64>)],
    nodes: usize,
) -> Result<(), String> {
    if nodes == 1 {
        return if got.is_empty() { Ok(()) } else { Err("one node is not scored".to_owned()) };
    }
    for (plugin, want) in want {
        let got = got.iter().find(|(name, _)| name == plugin).map(|(_, scores)| scores);
        match got {
            Some(got) if got == want => {}
            // A plugin that is indifferent does not score.
            None if want.iter().all(|score| score == &want[0]) => {}
            _ => return Err(format!("{plugin}: want {want:?}, got {got:?}")),
        }
    }
    Ok(())
}

/// One cluster's life: pods that were placed, and that fit nowhere.
fn live(profile: &Profile, seed: u64) -> Result<(usize, usize), String> {
    let mut dice = Dice::new(seed);
    let kinds: Vec<Value> = (0..KINDS).map(|_| random::template(&mut dice)).collect();
    let mut twins = Twins::new(&mut dice, &kinds);
    let (mut placed, mut start) = (0, 0);
    for n in 0..PODS {
        let pod = random::pod(&kinds[dice.below(KINDS)], &format!("new-{n}"), None);
        let shown = pod.clone();
        let done = twins.place(profile, &mut dice, &mut start, pod);
        placed += usize::from(done.map_err(|error| format!("seed {seed}, pod {n}: {error}\n{shown}"))?);
        if dice.chance(50) {
            twins.change(&mut dice);
        }
    }
    Ok((placed, PODS - placed))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn a_naive_implementation_agrees() {
    let profile = Profile::new(&ProfileConfig::default(), 0).expect("the default profile");
    let (first, clusters) = (setting("KEELSON_SEED", 1), setting("KEELSON_CLUSTERS", 300));
    let (mut placed, mut unfit, mut wrong) = (0, 0, Vec::new());
    for seed in first..first + clusters {
        match live(&profile, seed) {
            Ok((more, less)) => (placed, unfit) = (placed + more, unfit + less),
            Err(error) => wrong.push(error),
        }
    }
    println!("{clusters} clusters, {placed} pods placed, {unfit} fit nowhere, {} clusters differ", wrong.len());
    assert!(
        wrong.is_empty(),
        "{} of {clusters} clusters differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    assert!(
        clusters < 100 || (placed > unfit / 4 && unfit > placed / 20),
        "the clusters are too empty or too full to show anything"
    );
}

/// A cluster made anew from the naive world: nothing is kept in it.
fn fresh(world: &World) -> Cache {
    let mut cache = Cache::default();
    for namespace in &world.namespaces {
        let name = namespace["metadata"]["name"].as_str().unwrap().to_owned();
        cache.snapshot.catalog.namespaces.insert(name, typed(namespace));
    }
    world.nodes.iter().for_each(|node| cache.set_node(typed(node)));
    world.pods.iter().for_each(|pod| drop(cache.set_pod(info(pod))));
    cache.snapshot.settle();
    cache
}

/// Siblings that are judged by what was found out about earlier ones go where they would go if each were judged from scratch.
#[test]
fn what_is_kept_does_not_show() {
    let profile = Profile::new(&ProfileConfig::default(), 0).expect("the default profile");
    let (mut same, mut refused) = (0, 0);
    for seed in 1..=2 {
        let mut dice = Dice::new(1_000_000 + seed);
        let kinds: Vec<Value> = (0..KINDS).map(|_| random::template(&mut dice)).collect();
        let mut twins = Twins::new(&mut dice, &kinds);
        // More than the number from which only a part of the nodes is looked at.
        (0..250).for_each(|n| twins.set_node(random::node(&mut dice, &format!("n{n}"))));
        let mut start = 0;
        for n in 0..60 {
            let pod = random::pod(&kinds[dice.below(KINDS)], &format!("new-{n}"), None);
            let (judged, tie, mut other_start) = (info(&pod), dice.below(1 << 30), start);
            twins.cache.snapshot.settle();
            let anew = fresh(&twins.world);
            let want = schedule(&profile, &anew.snapshot, &judged, &mut other_start, &mut |n| tie % n);
            let got = schedule(&profile, &twins.cache.snapshot, &judged, &mut start, &mut |n| tie % n);
            assert_eq!(start, other_start, "seed {seed}, pod {n}");
            let node = match (want, got) {
                (Ok(want), Ok(got)) => {
                    assert_eq!((want.node.name(), want.scores), (got.node.name(), got.scores), "seed {seed}, pod {n}");
                    got.node.name().to_owned()
                }
                (want, got) => {
                    let (want, got) = (want.err().map(|why| why.message()), got.err().map(|why| why.message()));
                    assert_eq!(want, got, "seed {seed}, pod {n}");
                    refused += 1;
                    continue;
                }
            };
            same += 1;
            twins.cache.assume(Arc::new(judged.assigned_to(&node)), &node);
            let mut bound = pod;
            bound["spec"]["nodeName"] = json!(node);
            twins.world.pods.push(bound);
            if dice.chance(30) {
                twins.change(&mut dice);
            }
        }
    }
    assert!(same > 50 && same + refused == 120, "{same} placed, {refused} refused");
}
