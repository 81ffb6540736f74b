//! The recorded answers of upstream, replayed against our API server on each store: no group may fall below what it once
//! reached (`ratchet.txt`); the decisions of its scheduler, replayed against ours; and values that it recorded, found in an etcd.

mod upstream;

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use e2e_tests::{Background, eventually, run};

/// For clients, for peers.
type EtcdPorts = [&'static str; 2];
const ETCD_PORTS: EtcdPorts = ["18379", "18380"];
const TOKEN: &str = "golden";

/// File and its floors in percent: same verdict, same reason, same body.
fn ratchet() -> impl Iterator<Item = (&'static str, [f64; 3])> {
    include_str!("ratchet.txt").lines().filter(|l| !l.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let floor = |i: usize| words[i].parse().expect("a number in ratchet.txt");
        (words[0], [floor(1), floor(2), floor(3)])
    })
}

#[test]
fn recorded_answers() -> Result<()> {
    let Some(golden) = folder() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let store = format!("--data-dir={}", dir.path().join("data").display());
    let _server = server(dir.path(), "18443", &[&store])?;
    hold(&golden, "18443", "embedded store")
}

#[test]
fn recorded_answers_on_etcd() -> Result<()> {
    let Some(golden) = folder() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let Some(_etcd) = etcd(dir.path(), ETCD_PORTS)? else { return Ok(()) };
    let store = format!("--etcd-servers=http://127.0.0.1:{}", ETCD_PORTS[0]);
    let _server = server(dir.path(), "18444", &[&store])?;
    hold(&golden, "18444", "etcd")
}

/// How many of the recorded decisions are replayed, at two in a second; `KEELSON_DECISIONS` says otherwise.
const DECISIONS: &str = "40";

#[test]
fn recorded_decisions() -> Result<()> {
    let Some(golden) = folder() else { return Ok(()) };
    let (dir, port) = (tempfile::tempdir()?, "18445");
    let store = format!("--data-dir={}", dir.path().join("data").display());
    let _server = server(dir.path(), port, &[&store])?;
    let _scheduler = scheduler(dir.path(), port)?;
    let limit = std::env::var("KEELSON_DECISIONS").unwrap_or_else(|_| DECISIONS.into());
    let mut command = Command::new("python3");
    command.arg(format!("{golden}/replay_scheduler.py")).arg(format!("{golden}/scheduler.jsonl.xz"));
    command.args(["--server", &format!("https://127.0.0.1:{port}"), "--token", TOKEN, "--limit", &limit]);
    command.arg("--fail-log").arg(dir.path().join("failed"));
    // It ends with 1 unless every decision is the recorded one.
    let result =
        run(&mut command).with_context(|| std::fs::read_to_string(dir.path().join("failed")).unwrap_or_default());
    println!("{}", result?.trim());
    Ok(())
}

/// A scheduler of the server at `port`.
fn scheduler(dir: &Path, port: &str) -> Result<Background> {
    let path = |name: &str| dir.join(name).display().to_string();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: golden\n\
        clusters: [{{name: golden, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: {}}}}}]\n\
        users: [{{name: golden, user: {{token: {TOKEN}}}}}]\n\
        contexts: [{{name: golden, context: {{cluster: golden, user: golden}}}}]\n",
        path("certs/apiserver.crt")
    );
    std::fs::write(path("kubeconfig"), kubeconfig)?;
    let child = Command::new(e2e_tests::bin_dir()?.join("kube-scheduler"))
        .args([&format!("--kubeconfig={}", path("kubeconfig")), "--leader-elect=false", "--secure-port=0"])
        .stderr(std::fs::File::create(dir.join("scheduler.log"))?)
        .spawn()?;
    Ok(Background(child))
}

/// Where the recorded answers are, when they are there.
fn folder() -> Option<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let golden = std::env::var("KEELSON_GOLDEN").unwrap_or_else(|_| default.into());
    let there = Path::new(&golden).join("replay.py").exists();
    if !there {
        eprintln!("SKIPPED: {golden} has no recorded answers");
    }
    there.then_some(golden)
}

/// Replays every group against the server at `port`.
fn hold(golden: &str, port: &str, store: &str) -> Result<()> {
    let mut below = Vec::new();
    for (group, floors) in ratchet() {
        let reached = replay(golden, group, port)?;
        let [verdict, reason, exact] = reached;
        println!("golden {group} ({store}): verdict {verdict:.2} %, reason {reason:.2} %, exact {exact:.2} %");
        if reached.iter().zip(floors).any(|(reached, floor)| *reached < floor) {
            below.push(format!("{group}: {reached:?}, floor {floors:?}"));
        }
    }
    ensure!(below.is_empty(), "below the ratchet: {}", below.join("; "));
    Ok(())
}

/// An empty etcd, where the machine has the program.
fn etcd(dir: &Path, ports: EtcdPorts) -> Result<Option<Background>> {
    if run(Command::new("etcd").arg("--version")).is_err() {
        eprintln!("SKIPPED: there is no etcd on the path");
        return Ok(None);
    }
    let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let log = std::fs::File::create(dir.join("etcd.log"))?;
    let child = Command::new("etcd")
        .arg(format!("--data-dir={}", dir.join("etcd").display()))
        .args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")])
        .args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")])
        .arg(format!("--initial-cluster=default={peer}"))
        .stderr(log)
        .spawn()?;
    let server = Background(child);
    eventually(20, || run(Command::new("curl").args(["-sf", "-m", "2", &format!("{client}/health")])))?;
    Ok(Some(server))
}

/// A fresh API server; `flags` name its store, and what else the test needs.
fn server(dir: &Path, port: &str, flags: &[&str]) -> Result<Background> {
    let path = |name: &str| dir.join(name).display().to_string();
    let key = rcgen::KeyPair::generate()?;
    std::fs::write(path("sa.key"), key.serialize_pem())?;
    std::fs::write(path("sa.pub"), key.public_key_pem())?;
    std::fs::write(path("tokens"), format!("{TOKEN},admin,1,system:masters\nusertoken,alice,2,dev\n"))?;
    let log = std::fs::File::create(path("log"))?;
    let child = Command::new(e2e_tests::bin_dir()?.join("kube-apiserver"))
        .args(["--bind-address=127.0.0.1", &format!("--secure-port={port}"), "--authorization-mode=RBAC"])
        .args(flags)
        .args(["--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc"])
        .arg(format!("--cert-dir={}", path("certs")))
        .arg(format!("--token-auth-file={}", path("tokens")))
        .arg(format!("--service-account-key-file={}", path("sa.pub")))
        .arg(format!("--service-account-signing-key-file={}", path("sa.key")))
        .stderr(log)
        .spawn()?;
    let server = Background(child);
    let ready = format!("https://127.0.0.1:{port}/readyz");
    eventually(20, || run(Command::new("curl").args(["-skf", "-m", "2", &ready])))?;
    Ok(server)
}

/// The percentages that `replay.py` prints in its last line.
fn replay(golden: &str, group: &str, port: &str) -> Result<[f64; 3]> {
    let mut command = Command::new("python3");
    command.arg(format!("{golden}/replay.py")).arg("run").arg(format!("{golden}/{group}.jsonl.xz"));
    command.args(["--server", &format!("https://127.0.0.1:{port}"), "--token", TOKEN, "--jobs", "4"]);
    // It ends with 1 unless every case is exact.
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    let total = text
        .lines()
        .find_map(|l| l.strip_prefix("TOTAL"))
        .with_context(|| format!("replay of {group} printed no total: {}", String::from_utf8_lossy(&output.stderr)))?;
    let numbers = total.split_whitespace().skip(1).map(|w| w.trim_end_matches('%').parse::<f64>());
    let numbers: Vec<f64> = numbers.collect::<Result<_, _>>()?;
    Ok([numbers[0], numbers[1], numbers[2]])
}
