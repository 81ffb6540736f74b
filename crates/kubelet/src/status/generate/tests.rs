use super::*;
use crate::runtime::view::{ContainerView, SandboxView, State};
use serde_json::{Value, from_value, json};

struct Probes(bool);
impl Readiness for Probes {
    fn started(&self, _: &str, _: &Container) -> bool {
        true
    }
    fn ready(&self, _: &str, _: &Container) -> bool {
        self.0
    }
}

fn pod(policy: &str, init: Value) -> Pod {
    from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": init, "containers": [{"name": "a"}, {"name": "b"}]}}))
    .unwrap()
}

/// `a` runs, `a=1` ended with 1.
fn view(containers: &[&str]) -> PodView {
    let run = |(index, text): (usize, &&str)| {
        let (name, code) =
            text.split_once('=').map_or((*text, None), |(name, code)| (name, Some(code.parse().unwrap())));
        ContainerView {
            id: format!("{name}{index}"),
            state: if code.is_some() { State::Exited } else { State::Running },
            exit_code: code.unwrap_or(0),
            ..crate::runtime::view::tests::run(name)
        }
    };
    let sandbox = SandboxView {
        id: "s".into(),
        attempt: 0,
        ready: true,
        created: 1,
        ips: vec!["10.0.0.1".into()],
        host_network: false,
    };
    PodView { sandboxes: vec![sandbox], containers: containers.iter().enumerate().map(run).collect() }
}

fn status(
    pod: &Pod,
    view: &PodView,
    failures: &[(&str, &str)],
    ready: bool,
    before: &PodStatus,
    terminating: bool,
) -> PodStatus {
    let failure = |reason: &str| StartFailure { reason: reason.into(), message: "m".into() };
    let context = Context {
        probes: &Probes(ready),
        failures: &failures.iter().map(|(name, reason)| ((*name).to_owned(), failure(reason))).collect(),
        last_words: &BTreeMap::new(),
        applied: &BTreeMap::new(),
        runtime_name: "containerd",
        host_ips: &["1.1.1.1".into()],
        before,
        now: Timestamp::UNIX_EPOCH,
        terminating,
        verdict: None,
    };
    generate(pod, view, &context)
}

fn phase_of(policy: &str, init: Value, containers: &[&str], failures: &[(&str, &str)]) -> String {
    status(&pod(policy, init), &view(containers), failures, true, &PodStatus::default(), false).phase.unwrap()
}

#[test]
fn phases() {
    let init = || json!([{"name": "i"}]);
    let sidecar = || json!([{"name": "s", "restartPolicy": "Always"}]);
    let none = || json!([]);
    for (policy, init, containers, failures, want) in [
        ("Always", none(), &[][..], &[][..], "Pending"),
        ("Always", none(), &["a"], &[], "Pending"),
        ("Always", none(), &["a", "b"], &[], "Running"),
        ("Always", none(), &["a", "b=1"], &[], "Running"),
        ("Always", none(), &["a=1", "b=1"], &[("a", "CrashLoopBackOff"), ("b", "CrashLoopBackOff")], "Running"),
        ("Never", none(), &["a=0", "b=0"], &[], "Succeeded"),
        ("Never", none(), &["a=0", "b=1"], &[], "Failed"),
        ("OnFailure", none(), &["a=0", "b=1"], &[], "Running"),
        ("OnFailure", none(), &["a=0", "b=0"], &[], "Succeeded"),
        ("Always", init(), &["i"], &[], "Pending"),
        ("Always", init(), &["i=1"], &[], "Pending"),
        ("Never", init(), &["i=1"], &[], "Failed"),
        ("Always", init(), &["i=0", "a", "b"], &[], "Running"),
        ("Never", sidecar(), &["s=1", "a", "b"], &[], "Running"),
        ("Never", sidecar(), &["s=1", "a=0", "b=0"], &[], "Succeeded"),
    ] {
        assert_eq!(phase_of(policy, init.clone(), containers, failures), want, "{policy} {init} {containers:?}");
    }
}

#[test]
fn conditions_and_readiness() {
    let pod = pod("Always", json!([]));
    let find = |status: &PodStatus, type_: &str| {
        status.conditions.iter().flatten().find(|c| c.type_ == type_).unwrap().clone()
    };
    let up = status(&pod, &view(&["a", "b"]), &[], true, &PodStatus::default(), false);
    for type_ in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(find(&up, type_).status, "True", "{type_}");
    }
    assert_eq!((up.pod_ip.as_deref(), up.host_ip.as_deref()), (Some("10.0.0.1"), Some("1.1.1.1")));
    let down = status(&pod, &view(&["a", "b"]), &[], false, &up, false);
    let ready = find(&down, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("ContainersNotReady")));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a b]"));
}

#[test]
fn crash_loop_shows_the_last_end() {
    let status = status(
        &pod("Always", json!([])),
        &view(&["a", "b=3"]),
        &[("b", "CrashLoopBackOff")],
        true,
        &PodStatus::default(),
        false,
    );
    let b = &status.container_statuses.unwrap()[1];
    assert_eq!(b.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    let last = b.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!(
        (last.exit_code, last.reason.as_deref(), last.container_id.as_deref()),
        (3, Some("Error"), Some("containerd://b1"))
    );
    assert!(!b.ready);
}

#[test]
fn a_final_phase_stays_and_waits_for_containers() {
    let pod = pod("Never", json!([]));
    let failed = PodStatus { phase: Some("Failed".into()), reason: Some("Evicted".into()), ..PodStatus::default() };
    let after = status(&pod, &view(&["a", "b"]), &[], true, &failed, false);
    assert_eq!((after.phase.as_deref(), after.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    let mut gone = view(&["a=0", "b=137"]);
    gone.sandboxes[0].ready = false;
    let running = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
    assert_eq!(status(&pod, &gone, &[], true, &running, true).phase.as_deref(), Some("Failed"));
}
