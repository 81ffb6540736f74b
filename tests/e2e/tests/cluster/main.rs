//! One real three-node cluster, and everything that a user does with it. The scenarios share the cluster and run in order; each
//! cleans up after itself. All are run, whatever fails.

mod clients;
mod faults;
mod traffic;

use std::{collections::BTreeSet, process::Command};

use anyhow::Result;
use e2e_tests::Cluster;

type Scenario = (&'static str, fn(&Cluster) -> Result<()>);

const SCENARIOS: &[Scenario] = &[
    ("example: web server on every way", traffic::example),
    ("load balancer is reachable from the machine", traffic::load_balancer),
    ("our kubectl does the daily work", clients::ours),
    ("upstream's kubectl does the daily work", clients::upstream),
    ("every daemon survives kill -9", faults::daemons),
    ("a dead node's pods move", faults::node),
    ("images are loaded from an archive", traffic::load_image),
    ("a second up changes nothing", traffic::second_up),
    ("another cluster beside it, on etcd", traffic::beside_on_etcd),
];

#[test]
fn real_cluster() {
    if !ready_for_real_nodes() {
        eprintln!("SKIPPED: real nodes need root and containerd");
        return;
    }
    let only = std::env::var("KEELSON_SCENARIO").ok();
    let before = traces().expect("the machine can be looked at");
    let cluster = Cluster::up("e2e", &["--workers", "2"]).expect("the cluster comes up");
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS.iter().filter(|(n, _)| only.as_ref().is_none_or(|o| n.contains(o.as_str()))) {
        match scenario(&cluster) {
            Ok(()) => println!("scenario ok: {name}"),
            Err(error) => {
                println!("scenario FAILED: {name}\n{error:#}");
                failed.push(*name);
            }
        }
    }
    let leftovers = cluster.down().and_then(|()| nothing_left(&before));
    if let Err(error) = leftovers {
        println!("scenario FAILED: down leaves nothing\n{error:#}");
        failed.push("down leaves nothing");
    }
    assert!(failed.is_empty(), "failed scenarios: {failed:?}");
}

/// What clusters leave on the machine while they live: mounts, namespaces, links, rules, control groups.
fn traces() -> Result<BTreeSet<String>> {
    let sources =
        ["cat /proc/self/mounts", "ip netns", "ls /sys/class/net", "ip rule", "find /sys/fs/cgroup -path */keelson/*"];
    let mut found = BTreeSet::new();
    for command in sources {
        let words: Vec<&str> = command.split(' ').collect();
        let text = e2e_tests::run(Command::new(words[0]).args(&words[1..]))?;
        let ours = text.lines().filter(|line| line.contains("keelson") || line.contains("e2e-"));
        found.extend(ours.map(|line| format!("{}: {line}", words[0])));
    }
    Ok(found)
}

/// Nothing is there now that was not there before: other clusters on the machine are none of the test's business.
fn nothing_left(before: &BTreeSet<String>) -> Result<()> {
    let after = traces()?;
    let left: Vec<&String> = after.difference(before).collect();
    anyhow::ensure!(left.is_empty(), "left: {left:#?}");
    Ok(())
}

fn ready_for_real_nodes() -> bool {
    let root = std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.contains("\nUid:\t0\t0"));
    root && e2e_tests::run(Command::new("containerd").arg("--version")).is_ok()
}
