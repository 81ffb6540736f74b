use super::*;
use crate::runtime::view::SandboxView;
use serde_json::{Value, from_value, json};
use std::collections::BTreeMap;

#[derive(Default)]
struct Probes {
    dead: Vec<&'static str>,
    startup: BTreeMap<&'static str, bool>,
}

impl ProbeResults for Probes {
    fn liveness_failed(&self, id: &str) -> bool {
        self.dead.contains(&id)
    }
    fn startup(&self, id: &str) -> Option<bool> {
        self.startup.get(id).copied()
    }
}

fn pod(policy: &str, init: Value, main: Value) -> Pod {
    from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": init, "containers": main}}))
    .unwrap()
}

fn simple(policy: &str) -> Pod {
    pod(policy, json!([]), json!([{"name": "a"}, {"name": "b"}]))
}

fn sandbox(ready: bool) -> SandboxView {
    SandboxView { id: "s".into(), attempt: 1, ready, created: 1, ips: vec!["10.0.0.1".into()], host_network: false }
}

/// `name`: running, `name=3`: ended with 3, `name?`: unknown.
fn container(text: &str) -> ContainerView {
    let (name, state, exit_code) = match text.split_once('=') {
        Some((name, code)) => (name, State::Exited, code.parse().unwrap()),
        None if text.ends_with('?') => (text.trim_end_matches('?'), State::Unknown, 0),
        None => (text, State::Running, 0),
    };
    let definition: Container = from_value(json!({"name": name})).unwrap();
    ContainerView { state, exit_code, hash: hash(&definition), ..crate::runtime::view::tests::run(name) }
}

fn view(ready: bool, containers: &[&str]) -> PodView {
    PodView { sandboxes: vec![sandbox(ready)], containers: containers.iter().map(|text| container(text)).collect() }
}

/// One line that says everything.
fn show(actions: &PodActions) -> String {
    let kills: Vec<&str> = actions.kill.iter().map(|kill| kill.name.as_str()).collect();
    let mut out = String::new();
    if actions.kill_pod {
        out += "kill-pod ";
    }
    if actions.create_sandbox {
        out += &format!("create#{} ", actions.attempt);
    }
    out + &format!("kill{kills:?} init{:?} main{:?}", actions.start_init, actions.start_main)
}

fn check(pod: &Pod, view: &PodView, want: &str) {
    assert_eq!(show(&compute(pod, view, &Probes::default())), want, "{view:#?}");
}

#[test]
fn sandboxes() {
    check(&simple("Always"), &PodView::default(), "kill-pod create#0 kill[] init[] main[0, 1]");
    check(&simple("Always"), &view(false, &["a", "b"]), "kill-pod create#2 kill[] init[] main[0, 1]");
    check(&simple("Never"), &view(false, &["a=0", "b=0"]), "kill-pod kill[] init[] main[]");
    check(&simple("OnFailure"), &view(false, &["a=0", "b=1"]), "kill-pod create#2 kill[] init[] main[1]");
    check(&simple("OnFailure"), &view(false, &["a=0", "b=0"]), "kill-pod kill[] init[] main[]");
    let mut no_address = view(true, &["a", "b"]);
    no_address.sandboxes[0].ips.clear();
    check(&simple("Always"), &no_address, "kill-pod create#2 kill[] init[] main[0, 1]");
}

#[test]
fn regular_containers() {
    check(&simple("Always"), &view(true, &["a", "b"]), "kill[] init[] main[]");
    check(&simple("Always"), &view(true, &["a", "b=0"]), "kill[] init[] main[1]");
    check(&simple("OnFailure"), &view(true, &["a", "b=0"]), "kill[] init[] main[]");
    check(&simple("OnFailure"), &view(true, &["a", "b=2"]), "kill[] init[] main[1]");
    check(&simple("Never"), &view(true, &["a", "b=2"]), "kill[] init[] main[]");
    check(&simple("Never"), &view(true, &["a=0", "b=2"]), "kill-pod kill[] init[] main[]");
    check(&simple("Always"), &view(true, &["a", "b?"]), "kill[\"b\"] init[] main[1]");
    let mut changed = view(true, &["a", "b"]);
    changed.containers[0].hash = "other".into();
    check(&simple("Never"), &changed, "kill[\"a\"] init[] main[0]");
}

#[test]
fn failed_probes() {
    let dead = Probes { dead: vec!["a-id"], ..Probes::default() };
    let show = |policy: &str| show(&compute(&simple(policy), &view(true, &["a", "b"]), &dead));
    assert_eq!(show("Always"), "kill[\"a\"] init[] main[0]");
    assert_eq!(show("Never"), "kill[\"a\"] init[] main[]");
}

#[test]
fn restart_rules_of_a_container() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let pod = pod(
        "Never",
        json!([]),
        json!([{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}, {"name": "b"}]),
    );
    check(&pod, &view(true, &["a=42", "b"]), "kill[] init[] main[0]");
    check(&pod, &view(true, &["a=1", "b"]), "kill[] init[] main[]");
}

#[test]
fn init_containers_run_in_order() {
    let pod = |policy: &str| pod(policy, json!([{"name": "i"}, {"name": "j"}]), json!([{"name": "a"}]));
    check(&pod("Always"), &PodView::default(), "kill-pod create#0 kill[] init[0] main[]");
    check(&pod("Always"), &view(true, &[]), "kill[] init[0] main[]");
    check(&pod("Always"), &view(true, &["i"]), "kill[] init[] main[]");
    check(&pod("Always"), &view(true, &["i=0"]), "kill[] init[1] main[]");
    check(&pod("Always"), &view(true, &["i=1"]), "kill[] init[0] main[]");
    check(&pod("Never"), &view(true, &["i=1"]), "kill-pod kill[] init[] main[]");
    check(&pod("Always"), &view(true, &["i=0", "j=0"]), "kill[] init[] main[0]");
    check(&pod("Always"), &view(true, &["a=1", "i=0", "j=0"]), "kill[] init[] main[0]");
    // Containers of an earlier sandbox do not count.
    let mut old = view(true, &["a=1", "i=0", "j=0"]);
    old.containers.iter_mut().for_each(|container| container.sandbox = "old".into());
    check(&pod("Always"), &old, "kill[] init[0] main[]");
}

#[test]
fn sidecars_stay() {
    let pod = |policy: &str| {
        pod(policy, json!([{"name": "s", "restartPolicy": "Always"}, {"name": "j"}]), json!([{"name": "a"}]))
    };
    check(&pod("Never"), &view(true, &["s"]), "kill[] init[1] main[]");
    check(&pod("Never"), &view(true, &["s=1", "j"]), "kill[] init[0] main[]");
    check(&pod("Never"), &view(true, &["s", "j=0"]), "kill[] init[] main[0]");
    check(&pod("Never"), &view(true, &["s=1", "j=0", "a"]), "kill[] init[0] main[]");
    check(&pod("Never"), &view(true, &["s", "j=0", "a=0"]), "kill-pod kill[] init[] main[]");
}

#[test]
fn a_sidecar_starts_when_its_startup_probe_says_so() {
    let probe = json!({"exec": {"command": ["x"]}});
    let pod =
        pod("Always", json!([{"name": "s", "restartPolicy": "Always", "startupProbe": probe}]), json!([{"name": "a"}]));
    let show = |result: Option<bool>| {
        let startup = result.map(|result| ("s-id", result)).into_iter().collect();
        show(&compute(&pod, &view(true, &["s"]), &Probes { startup, ..Probes::default() }))
    };
    assert_eq!(show(None), "kill[] init[] main[]");
    assert_eq!(show(Some(true)), "kill[] init[] main[0]");
    assert_eq!(show(Some(false)), "kill[\"s\"] init[0] main[]");
}
