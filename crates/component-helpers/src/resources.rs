//! What a pod asks of a node: the sum over containers, sidecars, init containers, pod-level resources and overhead.
//!
//! The rules are those of upstream's `component-helpers/resource`: containers run together and are summed; init containers
//! run one after another, each beside the sidecars started before it, so that the highest of them counts; a resource named at
//! pod level replaces the sum; overhead comes on top.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::quantity;

/// Amounts by resource name: `cpu` in thousandths of a core, all else in whole units (bytes, counts).
pub type Amounts = BTreeMap<String, i64>;

/// What the scheduler assumes of a container that requests no CPU, in scores: upstream's `DefaultMilliCPURequest`.
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// What the scheduler assumes of a container that requests no memory, in scores: upstream's `DefaultMemoryRequest`.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// How to sum a pod's requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Count what the kubelet allocated or runs with, where that is more than the spec (in-place resize).
    pub use_status: bool,
    /// Assume [`DEFAULT_MILLI_CPU`] and [`DEFAULT_MEMORY`] of each container that names none.
    pub assume_defaults: bool,
}

/// One amount in the unit of [`Amounts`].
#[must_use]
pub fn amount(name: &str, quantity: &Quantity) -> i64 {
    if name == "cpu" { quantity::milli_value(quantity) } else { quantity::value(quantity) }
}

/// A resource list as amounts.
#[must_use]
pub fn amounts(list: &BTreeMap<String, Quantity>) -> Amounts {
    list.iter().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

/// What the pod requests, as its spec says.
#[must_use]
pub fn pod_requests(pod: &Pod) -> Amounts {
    pod_requests_with(pod, Options::default())
}

/// What the pod requests, under `options`.
#[must_use]
pub fn pod_requests_with(pod: &Pod, options: Options) -> Amounts {
    let Some(spec) = &pod.spec else {
        return Amounts::new();
    };
    let statuses = pod.status.as_ref().filter(|_| options.use_status);
    let pod_level = pod_level_requests(spec);
    let of = |container: &Container, statuses: Option<&Vec<ContainerStatus>>| {
        let status = statuses.and_then(|all| all.iter().find(|s| s.name == container.name));
        let mut requests = container_requests(container, status);
        if options.assume_defaults {
            requests.entry("cpu".to_owned()).or_insert(DEFAULT_MILLI_CPU);
            requests.entry("memory".to_owned()).or_insert(DEFAULT_MEMORY);
        }
        requests
    };
    let mut total = sum_pod(
        spec,
        |container| of(container, statuses.and_then(|s| s.container_statuses.as_ref())),
        |container| of(container, statuses.and_then(|s| s.init_container_statuses.as_ref())),
    );
    total.extend(pod_level);
    add_overhead(&mut total, spec);
    total
}

/// The limits that bind the pod as a whole: a resource counts where the pod level or every container names it.
/// Overhead is added to what is limited.
#[must_use]
pub fn pod_limits(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else {
        return Amounts::new();
    };
    let of = |container: &Container| limits(container.resources.as_ref());
    let mut total = sum_pod(spec, of, of);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|r| r.limits.as_ref()) {
        total.extend(amounts(pod_level).into_iter().filter(|(name, _)| is_pod_level(name)));
    }
    for (name, extra) in spec.overhead.iter().flatten() {
        if let Some(sum) = total.get_mut(name) {
            *sum = sum.saturating_add(amount(name, extra));
        }
    }
    total
}

/// Whether the init container keeps running beside the pod's containers.
#[must_use]
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// The pod-level requests that replace the containers' sums. A limit alone is a request too.
#[must_use]
pub fn pod_level_requests(spec: &PodSpec) -> Amounts {
    let Some(resources) = &spec.resources else {
        return Amounts::new();
    };
    let mut requests = limits(Some(resources));
    requests.extend(resources.requests.as_ref().map(amounts).unwrap_or_default());
    requests.retain(|name, _| is_pod_level(name));
    requests
}

/// Adds `other` to `total`, resource by resource.
pub fn add(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let sum = total.entry(name.clone()).or_insert(0);
        *sum = sum.saturating_add(*amount);
    }
}

fn raise(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let most = total.entry(name.clone()).or_insert(*amount);
        *most = (*most).max(*amount);
    }
}

fn is_pod_level(name: &str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

fn limits(resources: Option<&ResourceRequirements>) -> Amounts {
    resources.and_then(|r| r.limits.as_ref()).map(amounts).unwrap_or_default()
}

fn container_requests(container: &Container, status: Option<&ContainerStatus>) -> Amounts {
    let list = |r: Option<&ResourceRequirements>| r.and_then(|r| r.requests.as_ref()).map(amounts).unwrap_or_default();
    let mut requests = list(container.resources.as_ref());
    if let Some(status) = status {
        raise(&mut requests, &list(status.resources.as_ref()));
        raise(&mut requests, &status.allocated_resources.as_ref().map(amounts).unwrap_or_default());
    }
    requests
}

fn sum_pod(spec: &PodSpec, of: impl Fn(&Container) -> Amounts, of_init: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut highest_init = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let mut beside = of_init(container);
        if is_sidecar(container) {
            add(&mut running, &beside);
            add(&mut sidecars, &beside);
            beside.clone_from(&sidecars);
        } else {
            add(&mut beside, &sidecars);
        }
        raise(&mut highest_init, &beside);
    }
    raise(&mut running, &highest_init);
    running
}

fn add_overhead(total: &mut Amounts, spec: &PodSpec) {
    if let Some(overhead) = &spec.overhead {
        add(total, &amounts(overhead));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
        items.iter().map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned()))).collect()
    }

    fn container(cpu: &str, sidecar: bool) -> Container {
        Container {
            name: format!("c{cpu}"),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            resources: Some(ResourceRequirements {
                requests: Some(list(&[("cpu", cpu)])),
                limits: Some(list(&[("cpu", cpu)])),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn pod(containers: &[&str], init: &[(&str, bool)]) -> Pod {
        let spec = PodSpec {
            containers: containers.iter().map(|c| container(c, false)).collect(),
            init_containers: Some(init.iter().map(|(c, s)| container(c, *s)).collect()),
            ..Default::default()
        };
        Pod { spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn sums_containers_and_takes_the_highest_init_step() {
        type Case = (&'static [&'static str], &'static [(&'static str, bool)], i64);
        let table: [Case; 6] = [
            (&["1", "500m"], &[], 1500),
            (&["1"], &[("2", false)], 2000),
            (&["1"], &[("2", false), ("3", false)], 3000),
            (&["1"], &[("200m", true)], 1200),
            (&["1"], &[("200m", true), ("1", false)], 1200),
            (&["1"], &[("1", false), ("200m", true), ("2", false), ("300m", true)], 2200),
        ];
        for (containers, init, cpu) in table {
            let pod = pod(containers, init);
            assert_eq!(pod_requests(&pod)["cpu"], cpu, "{containers:?} {init:?}");
            assert_eq!(pod_limits(&pod)["cpu"], cpu, "{containers:?} {init:?}");
        }
    }

    #[test]
    fn pod_level_replaces_and_overhead_adds() {
        let mut pod = pod(&["1"], &[]);
        let spec = pod.spec.as_mut().expect("set above");
        spec.resources = Some(ResourceRequirements {
            requests: Some(list(&[("cpu", "3"), ("memory", "1Gi")])),
            ..Default::default()
        });
        spec.overhead = Some(list(&[("cpu", "100m")]));
        let got = pod_requests(&pod);
        assert_eq!(got["cpu"], 3100);
        assert_eq!(got["memory"], 1 << 30);
    }

    #[test]
    fn defaults_are_assumed_per_container_that_names_none() {
        let pod = pod(&["1", "2"], &[]);
        let got = pod_requests_with(&pod, Options { assume_defaults: true, ..Default::default() });
        assert_eq!(got["cpu"], 3000);
        assert_eq!(got["memory"], 2 * DEFAULT_MEMORY);
    }

    #[test]
    fn a_running_resize_counts_the_larger_side() {
        let mut pod = pod(&["1"], &[]);
        let status = ContainerStatus {
            name: "c1".into(),
            allocated_resources: Some(list(&[("cpu", "2")])),
            ..Default::default()
        };
        pod.status.get_or_insert_default().container_statuses = Some(vec![status]);
        assert_eq!(pod_requests(&pod)["cpu"], 1000);
        assert_eq!(pod_requests_with(&pod, Options { use_status: true, ..Default::default() })["cpu"], 2000);
    }
}
