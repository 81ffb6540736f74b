//! The node's status. Pure.

use super::capacity;
use super::pressure::Pressure;
use crate::agent::Agent;
use crate::host::FsUsage;
use api_types::k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use api_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api_types::k8s_openapi::jiff::Timestamp;
use k8s_cri::v1::{Image, StatusResponse};

/// Names per image in the status.
const MAX_NAMES: usize = 5;

/// What a status is made from beside what never changes.
pub(super) struct Findings {
    pub(super) disk: FsUsage,
    pub(super) pressure: Pressure,
    pub(super) images: Vec<Image>,
    pub(super) runtime: StatusResponse,
    /// Why the node is not ready.
    pub(super) not_ready: Vec<String>,
    pub(super) now: Timestamp,
}

/// What changes of pods the API server lets through to this node (upstream: `component-helpers/nodedeclaredfeatures`): no CPU
/// is pinned, so a guaranteed pod can be resized.
const DECLARED: [&str; 1] = ["GuaranteedQoSPodCPUResize"];

/// The node's status now, over what others wrote into it.
pub(super) fn compute(agent: &Agent, node: &Node, findings: &Findings) -> NodeStatus {
    let config = &agent.config;
    let mut status = node.status.clone().unwrap_or_default();
    status.capacity = Some(capacity::capacity(config, &agent.machine, &findings.disk));
    status.allocatable = Some(capacity::allocatable(config, &agent.machine, &findings.disk));
    // An external cloud provider owns the addresses once it has set them.
    if !(config.node.external_cloud && status.addresses.as_ref().is_some_and(|list| !list.is_empty())) {
        status.addresses = Some(addresses(agent));
    }
    status.daemon_endpoints =
        Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.server.port) }) });
    status.node_info = Some(info(agent));
    status.declared_features = Some(DECLARED.map(str::to_owned).to_vec());
    status.images = Some(images(&findings.images, config.node.max_images)).filter(|list| !list.is_empty());
    status.runtime_handlers = Some(handlers(&findings.runtime)).filter(|list| !list.is_empty());
    status.features = findings
        .runtime
        .features
        .as_ref()
        .map(|features| NodeFeatures { supplemental_groups_policy: Some(features.supplemental_groups_policy) });
    for condition in conditions(findings) {
        set(&mut status.conditions, condition);
    }
    status
}

fn addresses(agent: &Agent) -> Vec<NodeAddress> {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.into(), address };
    let mut list: Vec<_> = agent.node.host_ips().into_iter().map(|ip| address("InternalIP", ip)).collect();
    list.push(address("Hostname", agent.config.node.hostname.clone()));
    list
}

fn info(agent: &Agent) -> NodeSystemInfo {
    let machine = &agent.machine;
    NodeSystemInfo {
        architecture: machine.architecture.clone(),
        boot_id: machine.boot_id.clone(),
        container_runtime_version: format!("{}://{}", agent.runtime_name, agent.runtime_version),
        kernel_version: machine.kernel_version.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: component_base::flags::VERSION.into(),
        machine_id: machine.machine_id.clone(),
        operating_system: "linux".into(),
        os_image: machine.os_image.clone(),
        swap: (machine.swap > 0).then(|| NodeSwapStatus { capacity: i64::try_from(machine.swap).ok() }),
        system_uuid: machine.system_uuid.clone(),
    }
}

fn images(all: &[Image], limit: i32) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = all.iter().collect();
    sorted.sort_by(|a, b| (b.size, &a.id).cmp(&(a.size, &b.id)));
    let count = usize::try_from(limit).unwrap_or(usize::MAX);
    let named = |image: &&Image| ContainerImage {
        names: Some(image.repo_digests.iter().chain(&image.repo_tags).take(MAX_NAMES).cloned().collect()),
        size_bytes: i64::try_from(image.size).ok(),
    };
    sorted.iter().take(count).map(named).collect()
}

fn handlers(runtime: &StatusResponse) -> Vec<NodeRuntimeHandler> {
    let features = |handler: &k8s_cri::v1::RuntimeHandler| {
        handler.features.as_ref().map(|features| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        })
    };
    let mut list: Vec<_> = (runtime.runtime_handlers.iter())
        .map(|handler| NodeRuntimeHandler { name: Some(handler.name.clone()), features: features(handler) })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn conditions(findings: &Findings) -> Vec<NodeCondition> {
    let Pressure { memory, disk, pids } = findings.pressure;
    let pressure = |type_: &str, under: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if under { yes } else { no };
        condition(type_, under, reason, message, findings.now)
    };
    let ready = findings.not_ready.is_empty();
    let why = match findings.not_ready.as_slice() {
        [] => "kubelet is posting ready status".to_owned(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    vec![
        pressure(
            "MemoryPressure",
            memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        condition("Ready", ready, if ready { "KubeletReady" } else { "KubeletNotReady" }, &why, findings.now),
    ]
}

fn condition(type_: &str, holds: bool, reason: &str, message: &str, now: Timestamp) -> NodeCondition {
    NodeCondition {
        type_: type_.into(),
        status: if holds { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn set(list: &mut Option<Vec<NodeCondition>>, mut condition: NodeCondition) {
    let list = list.get_or_insert_default();
    match list.iter_mut().find(|old| old.type_ == condition.type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
        None => list.push(condition),
    }
}

/// Whether two statuses say the same, heartbeats aside.
pub(super) fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(a) == still(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut list = None;
        set(&mut list, condition("Ready", true, "r", "m", at(1)));
        set(&mut list, condition("Ready", true, "r", "m", at(2)));
        let ready = |list: &Option<Vec<NodeCondition>>| list.as_ref().unwrap()[0].clone();
        assert_eq!(ready(&list).last_transition_time, Some(Time(at(1))));
        assert_eq!(ready(&list).last_heartbeat_time, Some(Time(at(2))));
        set(&mut list, condition("Ready", false, "r", "m", at(3)));
        assert_eq!(ready(&list).last_transition_time, Some(Time(at(3))));
        assert_eq!(list.unwrap().len(), 1);
    }

    #[test]
    fn big_images_first() {
        let image =
            |name: &str, size| Image { id: name.into(), repo_tags: vec![name.into()], size, ..Image::default() };
        let list = images(&[image("a", 1), image("b", 3), image("c", 2)], 2);
        let names: Vec<_> = list.into_iter().map(|image| image.names.unwrap().remove(0)).collect();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn heartbeats_are_no_change() {
        let with = |second| NodeStatus {
            conditions: Some(vec![NodeCondition {
                last_heartbeat_time: Some(Time(Timestamp::from_second(second).unwrap())),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        };
        assert!(same(&with(1), &with(2)));
    }
}
