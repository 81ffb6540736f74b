//! The workloads of upstream's scheduler_perf that decisions depend on.

use std::sync::Arc;

use anyhow::bail;
use kube_scheduler::{
    cache::{Cache, PodInfo},
    config::ProfileConfig,
    framework::Profile,
    schedule::schedule,
};
use serde_json::{Value, json};
use tokio::time::Instant;

const ZONES: usize = 10;

/// A kind of pod.
struct Workload {
    name: &'static str,
    /// What is added to the spec of the `n`-th pod.
    spec: fn(usize) -> Value,
}

fn term(selector: Value, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": selector}, "topologyKey": key})
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "basic", spec: |_| json!({}) },
    Workload {
        name: "node-affinity",
        spec: |n| {
            let zone = json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": [format!("zone-{}", n % ZONES)]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}}}})
        },
    },
    Workload {
        name: "anti-affinity-host",
        spec: |_| {
            let term = term(json!({"app": "web"}), "kubernetes.io/hostname");
            json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
        },
    },
    Workload {
        name: "affinity-zone",
        spec: |_| {
            let term = term(json!({"app": "web"}), "topology.kubernetes.io/zone");
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
        },
    },
    Workload {
        name: "preferred-anti-affinity-host",
        spec: |_| {
            let term = term(json!({"app": "web"}), "kubernetes.io/hostname");
            let weighted = json!([{"weight": 1, "podAffinityTerm": term}]);
            json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}})
        },
    },
    Workload {
        name: "spread-zone",
        spec: |_| {
            json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]})
        },
    },
    Workload {
        name: "spread-host-softly",
        spec: |_| {
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]})
        },
    },
    Workload { name: "unschedulable", spec: |_| json!({"nodeSelector": {"no": "such"}}) },
];

fn cluster(nodes: usize) -> anyhow::Result<Cache> {
    let mut cache = Cache::default();
    for n in 0..nodes {
        let name = format!("node-{n}");
        let node = json!({
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", n % ZONES),
                "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            }},
            "status": {"allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"}},
        });
        cache.set_node(Arc::new(serde_json::from_value(node)?));
    }
    Ok(cache)
}

fn pod(workload: &Workload, n: usize) -> anyhow::Result<PodInfo> {
    let mut spec = json!({"containers": [{"name": "c", "image": "registry/pause:1", "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}}}]});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), (workload.spec)(n)) {
        spec.extend(more);
    }
    let name = format!("pod-{n}");
    let pod =
        json!({"metadata": {"name": name, "namespace": "bench", "uid": name, "labels": {"app": "web"}}, "spec": spec});
    Ok(PodInfo::new(Arc::new(serde_json::from_value(pod)?)))
}

/// Runs one workload, or all, and prints a line for each.
pub(crate) fn run(wanted: &str, nodes: usize, pods: usize) -> anyhow::Result<()> {
    let chosen: Vec<_> = WORKLOADS.iter().filter(|w| wanted == "all" || w.name == wanted).collect();
    if chosen.is_empty() {
        bail!(
            "no workload is named {wanted:?}: there are {}",
            WORKLOADS.iter().map(|w| w.name).collect::<Vec<_>>().join(", ")
        );
    }
    println!("{nodes} nodes, {pods} pods each");
    println!(
        "{:32} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "workload", "pods/s", "mean ms", "CPU ms", "p99 ms", "scheduled"
    );
    chosen.into_iter().try_for_each(|workload| measure(workload, nodes, pods))
}

fn measure(workload: &Workload, nodes: usize, pods: usize) -> anyhow::Result<()> {
    let profile = Profile::new(&ProfileConfig::default(), 0)?;
    let mut cache = cluster(nodes)?;
    let pods = (0..pods).map(|n| pod(workload, n)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut start, mut scheduled, mut times) = (0, 0, Vec::with_capacity(pods.len()));
    let mut tie = |n: usize| component_base::rng::range(0..n as u64) as usize;
    let cpu = cpu_seconds()?;
    for pod in &pods {
        let began = Instant::now();
        cache.snapshot.settle();
        let node = schedule(&profile, &cache.snapshot, pod, &mut start, &mut tie).map(|d| d.node.name().to_owned());
        if let Ok(node) = node {
            scheduled += 1;
            cache.assume(Arc::new(pod.assigned_to(&node)), &node);
        }
        times.push(began.elapsed().as_secs_f64());
    }
    let count = pods.len().max(1) as f64;
    let (cpu, total) = ((cpu_seconds()? - cpu) / count, times.iter().sum::<f64>() / count);
    times.sort_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    println!(
        "{:32} {:>9.0} {:>10.3} {:>10.3} {:>10.3} {:>10}",
        workload.name,
        1.0 / total,
        total * 1e3,
        cpu * 1e3,
        p99 * 1e3,
        scheduled
    );
    Ok(())
}

/// The time that this thread was on a core, which other processes' work does not disturb.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}
