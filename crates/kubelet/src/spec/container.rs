//! A container as the runtime creates it.

use super::expand::expand;
use super::sandbox::identity;
use super::{labels, resources, security};
use crate::config::Config;
use crate::host::Machine;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Container, Pod};
use k8s_cri::v1::{ContainerConfig, ContainerMetadata, Image, ImageSpec, KeyValue, LinuxContainerConfig, Mount};
use std::collections::{BTreeMap, HashMap};

/// What has been prepared for a container before it is created.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    /// The image as the runtime names it.
    pub image_ref: &'a str,
    /// What the runtime knows of the image.
    pub image: Option<&'a Image>,
    /// Environment.
    pub env: &'a BTreeMap<String, String>,
    /// Volumes, /etc/hosts, termination message.
    pub mounts: Vec<Mount>,
    /// Starts before this one.
    pub restarts: u32,
    /// The machine.
    pub machine: &'a Machine,
    /// Node-wide security settings.
    pub security: &'a security::NodeSecurity,
}

/// The path of the container's log below the pod's log directory.
pub(crate) fn log_path(name: &str, restarts: u32) -> String {
    format!("{name}/{restarts}.log")
}

/// What changes when the container has to be replaced: upstream's hash of name and image, so that a kubelet of either kind
/// leaves the other's containers running (`HashContainer`, which prints the JSON bytes in Go's notation).
pub(crate) fn hash(container: &Container) -> String {
    let identity =
        BTreeMap::from([("image", container.image.as_deref().unwrap_or_default()), ("name", &container.name)]);
    let json = serde_json::to_vec(&identity).unwrap_or_default();
    let numbers: Vec<String> = json.iter().map(u8::to_string).collect();
    format!("{:x}", fnv32a(format!("([]uint8)[{}]", numbers.join(" ")).as_bytes()))
}

fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut out: HashMap<_, _> = identity(pod).into_iter().collect();
    out.insert(labels::CONTAINER_NAME.into(), container.name.clone());
    out
}

fn annotations(pod: &Pod, container: &Container, restarts: u32) -> HashMap<String, String> {
    let mut out = HashMap::from([
        (labels::HASH.to_owned(), hash(container)),
        (labels::RESTART_COUNT.to_owned(), restarts.to_string()),
        (labels::MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (labels::MESSAGE_POLICY.to_owned(), container.termination_message_policy.clone().unwrap_or_default()),
        (labels::GRACE.to_owned(), pod.spec().termination_grace_period_seconds.unwrap_or(30).to_string()),
    ]);
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
        out.extend(serde_json::to_string(hook).ok().map(|json| (labels::PRE_STOP.to_owned(), json)));
    }
    if let Some(ports) = container.ports.as_ref().filter(|ports| !ports.is_empty()) {
        out.extend(serde_json::to_string(ports).ok().map(|json| (labels::PORTS.to_owned(), json)));
    }
    out
}

/// The container's configuration.
pub(crate) fn config(config: &Config, pod: &Pod, container: &Container, prepared: Prepared<'_>) -> ContainerConfig {
    let lookup = |name: &str| prepared.env.get(name).cloned();
    let words = |list: &Option<Vec<String>>| list.iter().flatten().map(|word| expand(word, &lookup)).collect();
    let user_image = container.image.clone().unwrap_or_default();
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: prepared.restarts }),
        image: Some(ImageSpec {
            image: prepared.image_ref.to_owned(),
            user_specified_image: user_image,
            ..ImageSpec::default()
        }),
        command: words(&container.command),
        args: words(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: prepared.env.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: prepared.mounts,
        labels: container_labels(pod, container),
        annotations: annotations(pod, container, prepared.restarts),
        log_path: log_path(&container.name, prepared.restarts),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources::container(
                pod,
                container,
                &config.cgroups,
                prepared.machine.memory,
                prepared.machine.cgroup_v2,
            )),
            security_context: Some(security::container(pod, container, prepared.image, prepared.security)),
        }),
        ..ContainerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn hashes_are_those_of_upstream() {
        let container: Container = from_value(json!({"name": "test_container", "image": "foo/image:v1"})).unwrap();
        assert_eq!(hash(&container), "8e45cbd0");
    }

    #[test]
    fn command_and_bookkeeping() {
        let pod: Pod = from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"containers": [
            {"name": "c", "image": "i:1", "command": ["sh", "$(A)"], "args": ["$$(A)"], "lifecycle": {"preStop": {"sleep": {"seconds": 2}}}}]}}))
        .unwrap();
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let prepared = Prepared {
            image_ref: "sha256:x",
            image: None,
            env: &env,
            mounts: Vec::new(),
            restarts: 2,
            machine: &Machine::default(),
            security: &security::NodeSecurity::default(),
        };
        let container = &pod.spec().containers[0];
        let out = config(&Config::new("n"), &pod, container, prepared);
        assert_eq!((out.command, out.args), (vec!["sh".to_owned(), "1".to_owned()], vec!["$(A)".to_owned()]));
        assert_eq!(out.log_path, "c/2.log");
        assert_eq!(out.annotations[labels::PRE_STOP], r#"{"sleep":{"seconds":2}}"#);
        assert_eq!(out.annotations[labels::RESTART_COUNT], "2");
        assert_ne!(hash(container), hash(&Container { image: Some("i:2".into()), ..container.clone() }));
    }
}
