//! How many replicas a metric asks for. Pure; the rules are upstream's (`replica_calculator.go`).
//!
//! The current count is scaled by usage over target, and stays where the ratio is within the tolerance. Pods that are not ready, or were
//! not measured, must not turn the direction: on the way up they count as idle, on the way down as using what is targeted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use api_types::k8s_openapi::{
    api::core::v1::{Container, Pod},
    jiff::{SignedDuration, Timestamp},
};
use component_helpers::{conditions, pods as helpers, quantity, resources};
use kube::ResourceExt;

use super::metrics::{PodMetric, PodMetrics};

/// How far usage may be from the target without anything being done, as parts of the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    fn hold(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What the calculation is about.
pub(super) struct Situation<'a> {
    pub(super) namespace: &'a str,
    /// The wanted replicas of the target.
    pub(super) spec_replicas: i32,
    /// Its existing replicas.
    pub(super) status_replicas: i32,
    /// Its pods.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerances: Tolerances,
    /// For how long after its start a pod's CPU is judged with care.
    pub(super) cpu_initialization: SignedDuration,
    /// A pod that turned unready within this time after its start has never been ready.
    pub(super) readiness_delay: SignedDuration,
    pub(super) now: Timestamp,
}

/// What a metric asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// The usage of a pod (or of the object), in thousandths.
    pub(super) usage: i64,
    /// In percent of the request.
    pub(super) utilization: Option<i32>,
}

/// What usage is measured against.
enum Target<'a> {
    /// Percent of the pods' requests, in thousandths.
    Utilization(i32, &'a BTreeMap<String, i64>),
    /// Thousandths per pod.
    Usage(i64),
}

struct Usage {
    ratio: f64,
    average: i64,
    utilization: Option<i32>,
}

/// How pods count.
#[derive(Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Target<'_> {
    fn usage(&self, metrics: &PodMetrics) -> Result<Usage, String> {
        match self {
            Self::Usage(target) => {
                let total: i64 = metrics.values().fold(0, |sum, m| sum.saturating_add(m.value));
                let average = total / i64::try_from(metrics.len()).unwrap_or(1).max(1);
                Ok(Usage { ratio: average as f64 / *target as f64, average, utilization: None })
            }
            Self::Utilization(target, requests) => {
                let known = metrics.iter().filter_map(|(pod, metric)| Some((metric.value, *requests.get(pod)?)));
                let (used, requested) =
                    known.fold((0i64, 0i64), |(used, requested), (value, request)| (used + value, requested + request));
                if requested == 0 {
                    return Err("no metrics returned matched known pods".into());
                }
                let utilization = i32::try_from(used.saturating_mul(100) / requested).unwrap_or(i32::MAX);
                let average = used / i64::try_from(metrics.len()).unwrap_or(1).max(1);
                let ratio = f64::from(utilization) / f64::from(*target);
                Ok(Usage { ratio, average, utilization: Some(utilization) })
            }
        }
    }

    /// What a pod that was not measured is assumed to use on the way down.
    fn assumed(&self, pod: &str) -> i64 {
        match self {
            Self::Usage(target) => *target,
            Self::Utilization(target, requests) => {
                requests.get(pod).copied().unwrap_or_default() * i64::from((*target).max(100)) / 100
            }
        }
    }
}

impl Situation<'_> {
    /// By the pods' usage in percent of their requests; of one container, where it is named.
    pub(super) fn by_utilization(
        &self,
        metrics: &PodMetrics,
        resource: &str,
        container: Option<&str>,
        target: i32,
    ) -> Result<Proposal, String> {
        let (metrics, groups) = self.relevant(metrics, resource)?;
        let requests = self.requests(resource, container)?;
        self.by_pods(metrics, &groups, &Target::Utilization(target, &requests))
    }

    /// By the pods' average value. `resource` is empty for metrics that are none.
    pub(super) fn by_average(&self, metrics: &PodMetrics, resource: &str, target: i64) -> Result<Proposal, String> {
        let (metrics, groups) = self.relevant(metrics, resource)?;
        self.by_pods(metrics, &groups, &Target::Usage(target))
    }

    /// By one value that is to be at the target whatever the number of pods.
    pub(super) fn by_value(&self, usage: i64, target: i64) -> Result<Proposal, String> {
        let ratio = usage as f64 / target as f64;
        let replicas = match self.spec_replicas {
            0 => ceil(ratio),
            current if self.tolerances.hold(ratio) => current,
            _ => {
                ceil(ratio * self.ready_pods().map_err(|why| format!("unable to calculate ready pods: {why}"))? as f64)
            }
        };
        Ok(Proposal { replicas, usage, utilization: None })
    }

    /// By one value that the pods share.
    pub(super) fn by_share(&self, usage: i64, target: i64) -> Proposal {
        let current = self.status_replicas;
        let ratio = usage as f64 / (target as f64 * f64::from(current));
        let replicas = match self.tolerances.hold(ratio) {
            true => current,
            false => ceil(usage as f64 / target as f64),
        };
        let share = if current == 0 { 0 } else { (usage as f64 / f64::from(current)).ceil() as i64 };
        Proposal { replicas, usage: share, utilization: None }
    }

    /// The values that count, and how the pods count.
    fn relevant(&self, metrics: &PodMetrics, resource: &str) -> Result<(PodMetrics, Groups), String> {
        self.some_pods()?;
        let groups = self.group(metrics, resource);
        let mut metrics = metrics.clone();
        metrics.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
        match metrics.is_empty() {
            true => Err("did not receive metrics for targeted pods (pods might be unready)".into()),
            false => Ok((metrics, groups)),
        }
    }

    fn by_pods(&self, mut metrics: PodMetrics, groups: &Groups, target: &Target<'_>) -> Result<Proposal, String> {
        let Usage { ratio, average, utilization } = target.usage(&metrics)?;
        let proposal = |replicas| Proposal { replicas, usage: average, utilization };
        let stay = proposal(self.spec_replicas);
        let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
        if !up_with_unready && groups.missing.is_empty() {
            return Ok(match self.tolerances.hold(ratio) {
                true => stay,
                false => proposal(ceil(ratio * groups.ready as f64)),
            });
        }
        let assume = |metrics: &mut PodMetrics, pod: &String, value| {
            let metric = PodMetric { timestamp: self.now, window: SignedDuration::ZERO, value };
            metrics.insert(pod.clone(), metric);
        };
        for pod in &groups.missing {
            if ratio < 1.0 {
                assume(&mut metrics, pod, target.assumed(pod));
            } else if ratio > 1.0 {
                assume(&mut metrics, pod, 0);
            }
        }
        if up_with_unready {
            groups.unready.iter().for_each(|pod| assume(&mut metrics, pod, 0));
        }
        let again = target.usage(&metrics)?.ratio;
        if self.tolerances.hold(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
            return Ok(stay);
        }
        let replicas = ceil(again * metrics.len() as f64);
        let turns = (again < 1.0 && replicas > self.spec_replicas) || (again > 1.0 && replicas < self.spec_replicas);
        Ok(if turns { stay } else { proposal(replicas) })
    }

    fn group(&self, metrics: &PodMetrics, resource: &str) -> Groups {
        let mut groups = Groups::default();
        for pod in self.pods {
            let name = pod.name_any();
            if !helpers::is_active(pod) {
                groups.ignored.insert(name);
            } else if helpers::phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else if let Some(metric) = metrics.get(&name) {
                match resource == "cpu" && !self.is_cpu_meaningful(pod, metric) {
                    true => drop(groups.unready.insert(name)),
                    false => groups.ready += 1,
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }

    /// Starting costs CPU that says nothing about the load.
    fn is_cpu_meaningful(&self, pod: &Pod, metric: &PodMetric) -> bool {
        let Some(status) = &pod.status else { return false };
        let (Some(ready), Some(start)) = (conditions::find(status.conditions.as_ref(), "Ready"), &status.start_time)
        else {
            return false;
        };
        let since = ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let is_unready = ready.status == "False";
        if start.0 + self.cpu_initialization > self.now {
            !is_unready && metric.timestamp >= since + metric.window
        } else {
            !(is_unready && start.0 + self.readiness_delay > since)
        }
    }

    fn some_pods(&self) -> Result<(), String> {
        match self.pods.is_empty() {
            true => Err("no pods returned by selector while calculating replica count".into()),
            false => Ok(()),
        }
    }

    fn ready_pods(&self) -> Result<usize, String> {
        self.some_pods()?;
        Ok(self.pods.iter().filter(|pod| helpers::phase(pod) == "Running" && helpers::is_ready(pod)).count())
    }

    /// What the pods request, in thousandths; all must.
    fn requests(&self, resource: &str, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
        let requests = self.pods.iter().map(|pod| Ok((pod.name_any(), request(pod, resource, container)?)));
        requests.collect()
    }
}

fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

/// What a pod requests: its own request where it has any, else the sum over containers and sidecars; one container's where it is named.
fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = pod.name_any();
    if container.is_none() && !resources::pod_level_requests(&spec).is_empty() {
        let scale = if resource == "cpu" { 1 } else { 1000 };
        let found = resources::pod_requests(pod).get(resource).map(|amount| amount * scale);
        return found.ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|init| resources::is_sidecar(init));
    let mut wanted = spec.containers.iter().chain(sidecars).filter(|c| container.is_none_or(|name| name == c.name));
    let of = |c: &Container| {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        let found = requests.and_then(|requests| requests.get(resource)).map(quantity::milli_value);
        found.ok_or_else(|| format!("missing request for {resource} in container {} of Pod {name}", c.name))
    };
    match container {
        None => wanted.map(of).sum(),
        Some(container) => match wanted.next() {
            Some(found) => of(found),
            None => Err(format!("container {container} not found in Pod {name}")),
        },
    }
}
