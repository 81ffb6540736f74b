//! Requests and limits as the kernel takes them: shares, quotas, limits, OOM scores and the names of cgroups.

use crate::config::CgroupConfig;
use crate::host::CgroupLimits;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Container, Pod};
use component_helpers::qos::{self, QosClass};
use component_helpers::quantity::{milli_value, value};
use component_helpers::resources::{pod_limits, pod_requests};
use k8s_cri::v1::LinuxContainerResources;
use std::collections::BTreeMap;

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const MIN_QUOTA: i64 = 1000;

/// OOM score adjustments of upstream's `pkg/kubelet/qos`.
const GUARANTEED_OOM: i64 = -997;
const BEST_EFFORT_OOM: i64 = 1000;

/// CPU thousandths as v1 shares.
pub(crate) fn shares(milli: i64) -> i64 {
    (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// CPU thousandths as a quota in microseconds per period.
pub(crate) fn quota(milli: i64, period_micros: i64) -> i64 {
    (milli * period_micros / 1000).max(MIN_QUOTA)
}

fn period(config: &CgroupConfig) -> i64 {
    i64::try_from(config.cpu_cfs_period.as_micros()).unwrap_or(100_000)
}

fn of(container: &Container, limits: bool, name: &str) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    let list = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
    let quantity = list?.get(name)?;
    Some(if name == "cpu" { milli_value(quantity) } else { value(quantity) })
}

/// A container's resources for the runtime.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    config: &CgroupConfig,
    memory_capacity: u64,
    v2: bool,
) -> LinuxContainerResources {
    let limit = of(container, true, "cpu");
    let request = of(container, false, "cpu").or(limit);
    let mut out = LinuxContainerResources {
        cpu_shares: shares(request.unwrap_or(0)),
        memory_limit_in_bytes: of(container, true, "memory").unwrap_or(0),
        oom_score_adj: oom_score(pod, container, memory_capacity),
        ..LinuxContainerResources::default()
    };
    out.cpu_period = period(config);
    if let Some(milli) = limit.filter(|milli| *milli > 0 && config.cpu_cfs_quota) {
        out.cpu_quota = quota(milli, out.cpu_period);
    }
    if v2 {
        // One process of the container out of memory takes the whole container along, as upstream asks for.
        out.unified.insert("memory.oom.group".into(), "1".into());
    }
    out
}

/// How willingly the kernel kills the container: less for who asked for a greater part of the memory.
pub(crate) fn oom_score(pod: &Pod, container: &Container, memory_capacity: u64) -> i64 {
    if pod.is_critical() {
        return GUARANTEED_OOM;
    }
    match qos::pod_qos(pod) {
        QosClass::Guaranteed => GUARANTEED_OOM,
        QosClass::BestEffort => BEST_EFFORT_OOM,
        QosClass::Burstable => {
            let request = of(container, false, "memory").or(of(container, true, "memory")).unwrap_or(0);
            let capacity = i64::try_from(memory_capacity).unwrap_or(i64::MAX).max(1);
            let score = 1000 - (i128::from(request) * 1000 / i128::from(capacity)) as i64;
            score.clamp(1000 + GUARANTEED_OOM, BEST_EFFORT_OOM - 1)
        }
    }
}

/// The limits of the pod's own cgroup.
pub(crate) fn pod_cgroup(pod: &Pod, config: &CgroupConfig) -> CgroupLimits {
    let (requests, limits) = (pod_requests(pod), pod_limits(pod));
    let mut out = CgroupLimits {
        pids: (config.pod_pids_limit > 0).then_some(config.pod_pids_limit),
        cpu_shares: Some(MIN_SHARES as u64),
        ..CgroupLimits::default()
    };
    if qos::pod_qos(pod) == QosClass::BestEffort {
        return out;
    }
    let asked = requests.get("cpu").or(limits.get("cpu")).copied().unwrap_or(0);
    out.cpu_shares = Some(shares(asked) as u64);
    if let Some(milli) = limits.get("cpu").filter(|milli| **milli > 0 && config.cpu_cfs_quota) {
        out.cpu_period = Some(period(config) as u64);
        out.cpu_quota = Some(quota(*milli, period(config)));
    }
    out.memory = limits.get("memory").copied().filter(|bytes| *bytes > 0);
    out
}

/// The cgroup that holds all pods.
pub(crate) fn kubepods(config: &CgroupConfig) -> String {
    format!("{}/kubepods", config.root.trim_end_matches('/'))
}

/// The cgroup of a QoS class.
pub(crate) fn class_cgroup(config: &CgroupConfig, class: QosClass) -> String {
    match class {
        QosClass::Guaranteed => kubepods(config),
        QosClass::Burstable => kubepods(config) + "/burstable",
        QosClass::BestEffort => kubepods(config) + "/besteffort",
    }
}

/// The pod's cgroup.
pub(crate) fn cgroup_name(pod: &Pod, config: &CgroupConfig) -> String {
    format!("{}/pod{}", class_cgroup(config, qos::pod_qos(pod)), pod.pod_uid())
}

/// Shares of the burstable class: what its pods asked for together.
pub(crate) fn burstable_shares<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> u64 {
    let burstable = pods.into_iter().filter(|pod| qos::pod_qos(pod) == QosClass::Burstable);
    shares(burstable.map(|pod| pod_requests(pod).get("cpu").copied().unwrap_or(0)).sum()) as u64
}

/// Resources that pods use of, for the fit check, with one pod counted.
pub(crate) fn demand(pod: &Pod) -> BTreeMap<String, i64> {
    let mut out = pod_requests(pod);
    out.insert("pods".into(), 1);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn pod(resources: Value) -> Pod {
        from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": [{"name": "c", "resources": resources}]}}))
            .unwrap()
    }

    #[test]
    fn classes_and_limits() {
        let config = CgroupConfig { root: "/k/n".into(), ..CgroupConfig::default() };
        let best = pod(json!({}));
        assert_eq!(cgroup_name(&best, &config), "/k/n/kubepods/besteffort/podu");
        assert_eq!(pod_cgroup(&best, &config).cpu_shares, Some(2));
        let burst = pod(json!({"requests": {"cpu": "500m"}}));
        assert_eq!(cgroup_name(&burst, &config), "/k/n/kubepods/burstable/podu");
        assert_eq!(pod_cgroup(&burst, &config).cpu_shares, Some(512));
        assert_eq!(pod_cgroup(&burst, &config).memory, None);
        let sure =
            pod(json!({"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "1500m", "memory": "1Gi"}}));
        assert_eq!(cgroup_name(&sure, &config), "/k/n/kubepods/podu");
        let limits = pod_cgroup(&sure, &config);
        assert_eq!((limits.cpu_quota, limits.cpu_period, limits.memory), (Some(150_000), Some(100_000), Some(1 << 30)));
        assert_eq!(cgroup_name(&sure, &CgroupConfig::default()), "/kubepods/podu");
    }

    #[test]
    fn oom_scores() {
        let score = |resources: Value| {
            let pod = pod(resources);
            oom_score(&pod, &pod.spec().containers[0], 4 << 30)
        };
        assert_eq!(score(json!({})), 1000);
        assert_eq!(score(json!({"requests": {"memory": "1Gi"}})), 750);
        assert_eq!(score(json!({"requests": {"memory": "4Gi"}})), 3);
        assert_eq!(score(json!({"requests": {"memory": "1Mi"}})), 999);
        assert_eq!(
            score(json!({"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"memory": "1Gi", "cpu": "1"}})),
            -997
        );
    }

    #[test]
    fn container_resources() {
        let pod = pod(json!({"limits": {"cpu": "5m", "memory": "64Mi"}}));
        let out = container(&pod, &pod.spec().containers[0], &CgroupConfig::default(), 4 << 30, false);
        assert_eq!((out.cpu_shares, out.cpu_quota, out.memory_limit_in_bytes), (5, 1000, 64 << 20));
        assert!(out.unified.is_empty());
    }
}
