//! Decisions alone: no queue, no API server.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use component_base::rng;
use kube_scheduler::{
    cache::{Cache, PodInfo},
    config::ProfileConfig,
    framework::Profile,
    schedule::{Unschedulable, schedule},
};
use serde_json::Value;
use tokio::time::Instant;

use super::workloads::Workload;

pub(super) fn head() {
    println!(
        "{:32} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "workload", "pods/s", "mean ms", "CPU ms", "p99 ms", "scheduled"
    );
}

/// Runs the workload and prints its line.
pub(super) fn measure(workload: &Workload, nodes: usize, pods: usize) -> Result<()> {
    let profile = Profile::new(&ProfileConfig::default(), 0)?;
    let mut cache = Cache::default();
    workload.setting(nodes, pods).try_for_each(|object| take_in(&mut cache, object))?;
    let pods = (0..pods).map(|n| pod_info(workload.pod(n, nodes))).collect::<Result<Vec<_>>>()?;
    let (mut start, mut scheduled, mut times) = (0, 0, Vec::with_capacity(pods.len()));
    let cpu = cpu_seconds()?;
    for pod in &pods {
        let began = Instant::now();
        scheduled += usize::from(attempt(&profile, &mut cache, pod, &mut start));
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

fn pod_info(object: Value) -> Result<Arc<PodInfo>> {
    Ok(Arc::new(PodInfo::new(Arc::new(serde_json::from_value(object)?))))
}

fn take_in(cache: &mut Cache, object: Value) -> Result<()> {
    let kind = object["kind"].as_str().context("an object without a kind")?.to_owned();
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (name, namespace) = (text("name"), text("namespace"));
    let catalog = &mut cache.snapshot.catalog;
    match kind.as_str() {
        "Node" => cache.set_node(Arc::new(serde_json::from_value(object)?)),
        "Pod" => drop(cache.set_pod(pod_info(object)?)),
        "PersistentVolume" => drop(catalog.volumes.insert(name, Arc::new(serde_json::from_value(object)?))),
        "PersistentVolumeClaim" => {
            catalog.claims.insert(format!("{namespace}/{name}"), Arc::new(serde_json::from_value(object)?));
        }
        other => anyhow::bail!("a workload has a {other}, which decisions do not read"),
    }
    Ok(())
}

/// One decision, and a second where victims had to go first.
fn attempt(profile: &Profile, cache: &mut Cache, pod: &Arc<PodInfo>, start: &mut usize) -> bool {
    for _ in 0..2 {
        cache.snapshot.settle();
        let mut tie = |n: usize| rng::range(0..n as u64) as usize;
        match schedule(profile, &cache.snapshot, pod, start, &mut tie).map(|d| d.node.name().to_owned()) {
            Ok(node) => {
                cache.assume(Arc::new(pod.assigned_to(&node)), &node);
                return true;
            }
            Err(Unschedulable::Unfit { preemption: Some(preemption), .. }) => {
                preemption.victims.iter().for_each(|victim| drop(cache.remove_pod(&victim.key)));
            }
            Err(_) => return false,
        }
    }
    false
}

/// The time that this thread was on a core, which other processes' work does not disturb.
fn cpu_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}
