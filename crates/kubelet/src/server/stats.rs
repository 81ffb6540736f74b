//! Resource usage of the node and its pods: `/stats/summary`, `/metrics/resource`, `/metrics/cadvisor`.

use super::{Failure, pages};
use crate::agent::Agent;
use crate::host::CgroupUsage;
use crate::pod::PodExt;
use crate::spec::{labels, resources};
use api_types::k8s_openapi::api::core::v1::Pod;
use api_types::k8s_openapi::jiff::Timestamp;
use component_base::clock;
use component_base::serving::{Body, text};
use http::{Response, StatusCode};
use k8s_cri::v1::ContainerStats;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

fn failed(error: impl std::fmt::Display) -> Failure {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Remembers the last reading of each counter, for rates.
#[derive(Default)]
pub(super) struct Sampler {
    last: Mutex<BTreeMap<String, (Timestamp, u64, u64)>>,
}

impl Sampler {
    /// Nanocores since the last reading; readings less than a second apart give the rate before.
    fn rate(&self, key: &str, now: Timestamp, nanos: u64) -> u64 {
        let mut last = self.last.lock();
        let Some((then, before, rate)) = last.get(key).copied() else {
            last.insert(key.to_owned(), (now, nanos, 0));
            return 0;
        };
        let elapsed = now.duration_since(then).as_secs_f64();
        if elapsed < 1.0 {
            return rate;
        }
        let rate = (nanos.saturating_sub(before) as f64 / elapsed) as u64;
        last.insert(key.to_owned(), (now, nanos, rate));
        rate
    }

    fn cpu_memory(&self, key: &str, usage: &CgroupUsage, total: Option<u64>) -> (Value, Value) {
        let now = clock::now();
        let cpu = json!({"time": time(now), "usageNanoCores": self.rate(key, now, usage.cpu_nanos),
            "usageCoreNanoSeconds": usage.cpu_nanos});
        let mut memory = json!({"time": time(now), "usageBytes": usage.memory_usage,
            "workingSetBytes": usage.memory_working_set, "rssBytes": usage.memory_rss});
        if let Some(total) = total {
            memory["availableBytes"] = json!(total.saturating_sub(usage.memory_working_set));
        }
        (cpu, memory)
    }

    pub(super) async fn summary(&self, agent: &Agent) -> Result<Response<Body>, Failure> {
        let root = agent.host.cgroup_usage("/").await.map_err(failed)?.unwrap_or_default();
        let (cpu, memory) = self.cpu_memory("/", &root, Some(agent.machine.memory));
        let disk = agent.host.fs_usage(&agent.config.paths.root).await.map_err(failed)?;
        let (processes, max) = agent.host.pids().await.map_err(failed)?;
        let fs = json!({"time": time(clock::now()), "availableBytes": disk.available, "capacityBytes": disk.capacity,
            "usedBytes": disk.capacity.saturating_sub(disk.available), "inodesFree": disk.inodes_free,
            "inodes": disk.inodes, "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free)});
        let node = json!({"nodeName": agent.config.node.name, "cpu": cpu, "memory": memory, "fs": fs.clone(),
            "runtime": {"imageFs": fs}, "rlimit": {"time": time(clock::now()), "maxpid": max, "curproc": processes}});
        let by_pod = containers(agent).await?;
        let mut pods = Vec::new();
        for (pod, list) in &by_pod {
            pods.push(self.pod(agent, pod, list).await?);
        }
        Ok(pages::json_answer(&json!({"node": node, "pods": pods})))
    }

    async fn pod(&self, agent: &Agent, pod: &Pod, list: &[ContainerStats]) -> Result<Value, Failure> {
        let status = agent.statuses.status(pod);
        let start = status.start_time.map(|start| time(start.0));
        let containers: Vec<Value> = list
            .iter()
            .map(|stats| {
                let usage = usage(stats);
                let name = container_name(stats);
                let (cpu, memory) = self.cpu_memory(&format!("{}/{name}", pod.pod_uid()), &usage, None);
                json!({"name": name, "startTime": start, "cpu": cpu, "memory": memory})
            })
            .collect();
        let mut out = json!({"podRef": {"name": pod.pod_name(), "namespace": pod.ns(), "uid": pod.pod_uid()},
            "startTime": start, "containers": containers});
        let cgroup = resources::cgroup_name(pod, &agent.config.cgroups);
        if let Some(usage) = agent.host.cgroup_usage(&cgroup).await.map_err(failed)? {
            let (cpu, memory) = self.cpu_memory(pod.pod_uid(), &usage, None);
            out["cpu"] = cpu;
            out["memory"] = memory;
        }
        Ok(out)
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn container_name(stats: &ContainerStats) -> String {
    let attributes = stats.attributes.as_ref();
    attributes.and_then(|attributes| attributes.labels.get(labels::CONTAINER_NAME)).cloned().unwrap_or_default()
}

fn usage(stats: &ContainerStats) -> CgroupUsage {
    let cpu = stats.cpu.as_ref();
    let memory = stats.memory.as_ref();
    let working_set = memory.and_then(|memory| memory.working_set_bytes).map_or(0, |value| value.value);
    CgroupUsage {
        cpu_nanos: cpu.and_then(|cpu| cpu.usage_core_nano_seconds).map_or(0, |value| value.value),
        memory_working_set: working_set,
        memory_usage: memory.and_then(|memory| memory.usage_bytes).map_or(working_set, |value| value.value),
        memory_rss: memory.and_then(|memory| memory.rss_bytes).map_or(0, |value| value.value),
    }
}

/// The running containers' usage, by pod.
async fn containers(agent: &Agent) -> Result<Vec<(Arc<Pod>, Vec<ContainerStats>)>, Failure> {
    let mut by_uid: BTreeMap<String, Vec<ContainerStats>> = BTreeMap::new();
    for stats in agent.runtime.list_container_stats(None).await.map_err(failed)? {
        let uid = stats.attributes.as_ref().and_then(|attributes| attributes.labels.get(labels::POD_UID)).cloned();
        by_uid.entry(uid.unwrap_or_default()).or_default().push(stats);
    }
    let known = by_uid.into_iter().filter_map(|(uid, list)| Some((agent.pods.get(&uid)?, list)));
    Ok(known.collect())
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A metric with its help, and its samples.
fn metric(out: &mut String, name: &str, kind: &str, help: &str, samples: &[(String, f64)]) {
    // Writing into a String can't fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

pub(super) async fn resource_metrics(agent: &Agent) -> Result<Response<Body>, Failure> {
    let root = agent.host.cgroup_usage("/").await.map_err(failed)?.unwrap_or_default();
    let (mut cpu, mut memory, mut pod_cpu, mut pod_memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (pod, list) in containers(agent).await? {
        for stats in &list {
            let labels =
                format!("{{container={:?},namespace={:?},pod={:?}}}", container_name(stats), pod.ns(), pod.pod_name());
            let usage = usage(stats);
            cpu.push((labels.clone(), seconds(usage.cpu_nanos)));
            memory.push((labels, usage.memory_working_set as f64));
        }
        let labels = format!("{{namespace={:?},pod={:?}}}", pod.ns(), pod.pod_name());
        let cgroup = resources::cgroup_name(&pod, &agent.config.cgroups);
        if let Some(usage) = agent.host.cgroup_usage(&cgroup).await.map_err(failed)? {
            pod_cpu.push((labels.clone(), seconds(usage.cpu_nanos)));
            pod_memory.push((labels, usage.memory_working_set as f64));
        }
    }
    let mut out = String::new();
    let node = |value: f64| vec![(String::new(), value)];
    for (name, kind, help, samples) in [
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            cpu,
        ),
        (
            "container_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the container in bytes",
            memory,
        ),
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            node(seconds(root.cpu_nanos)),
        ),
        (
            "node_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the node in bytes",
            node(root.memory_working_set as f64),
        ),
        (
            "pod_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
            pod_cpu,
        ),
        ("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes", pod_memory),
        (
            "resource_scrape_error",
            "gauge",
            "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            node(0.0),
        ),
    ] {
        metric(&mut out, name, kind, help, &samples);
    }
    Ok(text(StatusCode::OK, out))
}

pub(super) async fn cadvisor(agent: &Agent) -> Result<Response<Body>, Failure> {
    let (mut cpu, mut working_set, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for (pod, list) in containers(agent).await? {
        for stats in &list {
            let name = container_name(stats);
            let id = stats.attributes.as_ref().map(|attributes| attributes.id.clone()).unwrap_or_default();
            let image = pod.container(&name).and_then(|(_, container)| container.image).unwrap_or_default();
            let labels = format!(
                "{{container={name:?},id=\"{}/{id}\",image={image:?},name={id:?},namespace={:?},pod={:?}}}",
                resources::cgroup_name(&pod, &agent.config.cgroups),
                pod.ns(),
                pod.pod_name()
            );
            let found = usage(stats);
            cpu.push((labels.clone(), seconds(found.cpu_nanos)));
            working_set.push((labels.clone(), found.memory_working_set as f64));
            usages.push((labels, found.memory_usage as f64));
        }
    }
    let mut out = String::new();
    let machine = |value: f64| vec![(String::new(), value)];
    metric(&mut out, "container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", &cpu);
    metric(
        &mut out,
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        &usages,
    );
    metric(&mut out, "container_memory_working_set_bytes", "gauge", "Current working set in bytes.", &working_set);
    metric(&mut out, "machine_cpu_cores", "gauge", "Number of logical CPU cores.", &machine(agent.machine.cpus as f64));
    metric(
        &mut out,
        "machine_memory_bytes",
        "gauge",
        "Amount of memory installed on the machine.",
        &machine(agent.machine.memory as f64),
    );
    Ok(text(StatusCode::OK, out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let sampler = Sampler::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(sampler.rate("k", at(0), 0), 0);
        assert_eq!(sampler.rate("k", at(2), 1_000_000_000), 500_000_000);
        assert_eq!(sampler.rate("k", at(2), 9_000_000_000), 500_000_000, "too soon for a new one");
    }
}
