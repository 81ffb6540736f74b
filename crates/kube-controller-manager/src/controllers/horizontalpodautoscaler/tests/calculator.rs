//! How many replicas metrics ask for.

use api_types::k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    super::{
        calculator::{Proposal, Situation, Tolerances},
        metrics::Sample,
    },
    cpu_sample, metrics, now, pod, pods, same_pods,
};

/// Calculates with so many wanted and existing replicas.
fn with<T>(replicas: i32, values: Vec<Value>, calculate: impl FnOnce(&Situation<'_>) -> T) -> T {
    let pods = pods(values);
    calculate(&Situation {
        namespace: "ns",
        spec_replicas: replicas,
        status_replicas: replicas,
        pods: &pods,
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        cpu_initialization: SignedDuration::from_secs(300),
        readiness_delay: SignedDuration::from_secs(30),
        now: now(),
    })
}

/// By utilization of CPU: replicas and percent.
fn utilization(values: Vec<Value>, usage: &[&str], target: i32) -> Result<(i32, i32), String> {
    let Sample::Pods(metrics) = cpu_sample(usage)? else { unreachable!("it is of pods") };
    let replicas = i32::try_from(values.len()).unwrap();
    let proposal = with(replicas, values, |situation| situation.by_utilization(&metrics, "cpu", None, target));
    proposal.map(|Proposal { replicas, utilization, .. }| (replicas, utilization.unwrap()))
}

fn edit(mut pod: Value, pointer: &str, value: Value) -> Value {
    *pod.pointer_mut(pointer).unwrap() = value;
    pod
}

/// Not ready, and never was: it turned unready as it started, so long ago.
fn unready(pod: Value, started: &str) -> Value {
    let pod = edit(pod, "/status/startTime", json!(started));
    edit(pod, "/status/conditions/0", json!({"type": "Ready", "status": "False", "lastTransitionTime": started}))
}

#[test]
fn usage_over_target_scales() {
    for (count, usage, target, want) in [
        // 50 % of the request where 100 % are targeted halves, 200 % doubles.
        (4, &["500m"; 4][..], 100, (2, 50)),
        (2, &["2000m"; 2], 100, (4, 200)),
        (3, &["300m", "500m", "700m"], 30, (5, 50)),
        (5, &["100m", "300m", "500m", "250m", "250m"], 50, (3, 28)),
        // Within a tenth nothing is done; beyond it is rounded up.
        (3, &["1100m"; 3], 100, (3, 110)),
        (3, &["1120m"; 3], 100, (4, 112)),
        (10, &["900m"; 10], 100, (10, 90)),
        (10, &["880m"; 10], 100, (9, 88)),
    ] {
        assert_eq!(utilization(same_pods(count, "1"), usage, target), Ok(want), "{count} pods, {usage:?} of {target}");
    }
}

#[test]
fn pods_that_are_not_ready_do_not_turn_the_direction() {
    let soon = "2026-01-01T09:59:50Z";
    let start = |ready: usize, count: usize| -> Vec<Value> {
        let all = same_pods(count, "1").into_iter().enumerate();
        all.map(|(number, pod)| if number < ready { pod } else { unready(pod, soon) }).collect()
    };
    // Upstream's cases: the starting pods count as idle on the way up ...
    assert_eq!(utilization(start(2, 3), &["300m", "500m", "700m"], 30), Ok((3, 40)), "no change: it would be 0.88");
    assert_eq!(utilization(start(1, 3), &["400m", "500m", "700m"], 30), Ok((3, 40)));
    // ... and are passed over on the way down.
    assert_eq!(utilization(start(3, 4), &["300m", "300m", "300m", "900m"], 60), Ok((2, 30)));
    let pending: Vec<_> = same_pods(3, "1")
        .into_iter()
        .enumerate()
        .map(|(number, pod)| if number == 2 { edit(pod, "/status/phase", json!("Pending")) } else { pod })
        .collect();
    assert_eq!(utilization(pending, &["900m", "900m", ""], 50), Ok((4, 90)), "1.8 becomes 1.2 of three");
    assert_eq!(
        utilization(start(0, 1), &["900m"], 50),
        Err("did not receive metrics for targeted pods (pods might be unready)".into())
    );
}

#[test]
fn pods_that_were_not_measured_make_it_careful() {
    for (usage, target, want) in [
        // Down: the third counts with all that it requests: 70 % of 100 %.
        (&["550m", "550m", ""][..], 100, (3, 55)),
        (&["100m", "100m", ""], 100, (2, 10)),
        // Up: it counts as idle.
        (&["1000m", "1000m", ""], 50, (4, 100)),
        (&["600m", "600m", ""], 50, (3, 60)),
        // A target above the request is what is assumed.
        (&["1000m", "1000m", ""], 200, (2, 100)),
    ] {
        assert_eq!(utilization(same_pods(3, "1"), usage, target), Ok(want), "{usage:?} of {target}");
    }
}

#[test]
fn cpu_of_a_start_is_passed_over() {
    let ready_at = |started: &str, ready: &str, status: &str| {
        let pod = edit(pod("pod-1", "1"), "/status/startTime", json!(started));
        edit(pod, "/status/conditions/0", json!({"type": "Ready", "status": status, "lastTransitionTime": ready}))
    };
    for (second, counts) in [
        // Younger than five minutes: ready for one window (30 s) at least.
        (ready_at("2026-01-01T09:58:00Z", "2026-01-01T09:58:10Z", "True"), true),
        (ready_at("2026-01-01T09:58:00Z", "2026-01-01T09:59:40Z", "True"), false),
        (ready_at("2026-01-01T09:58:00Z", "2026-01-01T09:58:10Z", "False"), false),
        // Older: it was never ready, or was once.
        (ready_at("2026-01-01T09:00:00Z", "2026-01-01T09:00:20Z", "False"), false),
        (ready_at("2026-01-01T09:00:00Z", "2026-01-01T09:30:00Z", "False"), true),
        (json!({"metadata": {"name": "pod-1"}, "spec": second_spec(), "status": {"phase": "Running"}}), false),
        (edit(pod("pod-1", "1"), "/status/phase", json!("Failed")), false),
    ] {
        let found = utilization(vec![pod("pod-0", "1"), second.clone()], &["500m", "100m"], 50);
        assert_eq!(found.unwrap().1, if counts { 30 } else { 50 }, "{second}");
    }
}

fn second_spec() -> Value {
    json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": "1"}}}]})
}

#[test]
fn requests_are_those_of_containers_sidecars_or_the_pod() {
    let spec = json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": "100m"}}}],
        "initContainers": [{"name": "once", "resources": {"requests": {"cpu": "5"}}},
            {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}}]});
    let one = |spec: &Value| vec![edit(pod("pod-0", "1"), "/spec", spec.clone())];
    assert_eq!(utilization(one(&spec), &["200m"], 50).unwrap().1, 50);
    let mut whole = spec.clone();
    whole["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(utilization(one(&whole), &["200m"], 50).unwrap().1, 20);
    whole["resources"] = json!({"requests": {"memory": "1Gi"}});
    let Sample::Pods(main) = metrics(&["50m"]).usage("cpu", Some("main")).map(Sample::Pods).unwrap() else {
        unreachable!("it is of pods")
    };
    let of = |container| with(1, one(&spec), |s| s.by_utilization(&main, "cpu", Some(container), 50));
    assert_eq!(of("main").unwrap().utilization, Some(50));
    assert_eq!(of("other"), Err("container other not found in Pod pod-0".into()));
    let bare = json!({"containers": [{"name": "main"}]});
    assert_eq!(
        utilization(one(&bare), &["200m"], 50),
        Err("missing request for cpu in container main of Pod pod-0".into())
    );
    assert_eq!(
        utilization(vec![], &["1"], 50),
        Err("no pods returned by selector while calculating replica count".into())
    );
    assert_eq!(utilization(same_pods(1, "1"), &[], 50), Err("no metrics returned from resource metrics API".into()));
}

#[test]
fn average_values_are_compared_as_they_are() {
    let by_average = |usage: &[&str], target: i64| {
        let Sample::Pods(metrics) = cpu_sample(usage).unwrap() else { unreachable!("it is of pods") };
        let proposal = with(3, same_pods(3, "1"), |situation| situation.by_average(&metrics, "", target)).unwrap();
        (proposal.replicas, proposal.usage)
    };
    assert_eq!(by_average(&["20", "10", "30"], 15_000), (4, 20_000));
    assert_eq!(by_average(&["12", "12", "12"], 20_000), (2, 12_000));
    // Not measured: as much as is targeted on the way down, nothing on the way up.
    assert_eq!(by_average(&["10", "10", ""], 20_000), (2, 10_000));
    assert_eq!(by_average(&["30", "30", ""], 20_000), (3, 30_000));
}

#[test]
fn values_are_of_all_pods_or_shared() {
    let mut three = same_pods(3, "1");
    three[2]["status"]["conditions"][0]["status"] = json!("False");
    // A value: ready pods times the ratio.
    for (usage, want) in [(20_000, 3), (22_000, 3), (30_000, 3), (40_000, 4), (5_000, 1)] {
        let proposal = with(3, three.clone(), |situation| situation.by_value(usage, 20_000)).unwrap();
        assert_eq!((proposal.replicas, proposal.usage), (want, usage), "{usage}");
    }
    // From nothing the ratio alone counts.
    assert_eq!(with(0, vec![], |situation| situation.by_value(45_000, 20_000)).unwrap().replicas, 3);
    // Shared: as many as it takes.
    for (usage, want) in [(30_000, (3, 10_000)), (32_000, (3, 10_667)), (40_000, (4, 13_334)), (10_000, (1, 3_334))] {
        let proposal = with(3, three.clone(), |situation| situation.by_share(usage, 10_000));
        assert_eq!((proposal.replicas, proposal.usage), want, "{usage}");
    }
}
