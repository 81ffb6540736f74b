//! One real three-node cluster, and everything that a user does with it. The scenarios share the cluster and run in order; each
//! cleans up after itself. All are run, whatever fails.

mod clients;
mod faults;
mod traffic;

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
    let leftovers = cluster.down().and_then(|()| nothing_left());
    if let Err(error) = leftovers {
        println!("scenario FAILED: down leaves nothing\n{error:#}");
        failed.push("down leaves nothing");
    }
    assert!(failed.is_empty(), "failed scenarios: {failed:?}");
}

/// No process, namespace, mount, control group or route of the cluster.
fn nothing_left() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    anyhow::ensure!(!mounts.contains("/keelson/e2e"), "mounts are left:\n{mounts}");
    for (what, command) in
        [("namespaces", "ip netns"), ("rules", "ip rule"), ("groups", "find /sys/fs/cgroup -path */keelson/e2e")]
    {
        let words: Vec<&str> = command.split(' ').collect();
        let text = e2e_tests::run(std::process::Command::new(words[0]).args(&words[1..]))?;
        anyhow::ensure!(!text.contains("e2e") && !text.contains("keelson"), "{what} are left:\n{text}");
    }
    Ok(())
}

fn ready_for_real_nodes() -> bool {
    let root = std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.contains("\nUid:\t0\t0"));
    root && e2e_tests::run(std::process::Command::new("containerd").arg("--version")).is_ok()
}
