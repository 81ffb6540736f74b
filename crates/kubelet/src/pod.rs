//! What the kubelet asks of a pod object again and again.

use api_types::k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod, PodSpec};

/// Set by the kubelet on pods from files: where the pod comes from.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";
/// Set by the kubelet on pods from files: the hash of the manifest.
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
/// Set by the kubelet: when it saw the pod first.
pub(crate) const SEEN: &str = "kubernetes.io/config.seen";
/// On mirror pods: the hash of the static pod that they show.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// The source of pods that the API server knows.
pub(crate) const SOURCE_API: &str = "api";

/// Kinds of containers in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Runs to its end before the others start; or beside them (a sidecar).
    Init,
    /// A regular container.
    Main,
    /// Added for debugging; never restarted.
    Ephemeral,
}

/// Short ways to a pod's fields.
pub(crate) trait PodExt {
    /// The pod.
    fn pod(&self) -> &Pod;

    /// Name.
    fn pod_name(&self) -> &str {
        self.pod().metadata.name.as_deref().unwrap_or_default()
    }
    /// Namespace.
    fn ns(&self) -> &str {
        self.pod().metadata.namespace.as_deref().unwrap_or_default()
    }
    /// UID.
    fn pod_uid(&self) -> &str {
        self.pod().metadata.uid.as_deref().unwrap_or_default()
    }
    /// `name_namespace(uid)`, as messages of the runtime's errors show it.
    fn long_name(&self) -> String {
        format!("{}_{}({})", self.pod_name(), self.ns(), self.pod_uid())
    }
    /// `namespace/name`.
    fn key(&self) -> String {
        format!("{}/{}", self.ns(), self.pod_name())
    }
    /// An annotation.
    fn note(&self, key: &str) -> Option<&str> {
        self.pod().metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
    /// Whether the pod comes from a file on this node.
    fn is_static(&self) -> bool {
        self.note(SOURCE).is_some_and(|source| source != SOURCE_API)
    }
    /// Whether the pod shows a static pod in the API.
    fn is_mirror(&self) -> bool {
        self.note(MIRROR).is_some()
    }
    /// Whether deletion was asked for.
    fn is_deleted(&self) -> bool {
        self.pod().metadata.deletion_timestamp.is_some()
    }
    /// Phase in the API, empty when unset.
    fn phase(&self) -> &str {
        self.pod().status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }
    /// Whether the API says that the pod ended.
    fn ended(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }
    /// The spec; a pod without one does not pass the API.
    fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::OnceLock<PodSpec> = std::sync::OnceLock::new();
        self.pod().spec.as_ref().unwrap_or_else(|| EMPTY.get_or_init(PodSpec::default))
    }
    /// Restart policy, `Always` by default.
    fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }
    /// Whether the pod shares the node's network.
    fn host_network(&self) -> bool {
        self.spec().host_network == Some(true)
    }
    /// Init containers.
    fn init(&self) -> &[Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }
    /// Regular containers.
    fn main(&self) -> &[Container] {
        &self.spec().containers
    }
    /// Ephemeral containers.
    fn ephemeral(&self) -> &[EphemeralContainer] {
        self.spec().ephemeral_containers.as_deref().unwrap_or_default()
    }
    /// A container of any kind, ephemeral ones in the shape of the others.
    fn container(&self, name: &str) -> Option<(Role, Container)> {
        let find = |list: &[Container]| list.iter().find(|c| c.name == name).cloned();
        let ephemeral = || self.ephemeral().iter().find(|c| c.name == name).map(as_container);
        (find(self.init()).map(|c| (Role::Init, c)))
            .or_else(|| find(self.main()).map(|c| (Role::Main, c)))
            .or_else(|| ephemeral().map(|c| (Role::Ephemeral, c)))
    }
    /// The status that the API shows for a container.
    fn known_status(&self, name: &str) -> Option<&ContainerStatus> {
        let status = self.pod().status.as_ref()?;
        let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
        lists.into_iter().flatten().flatten().find(|status| status.name == name)
    }
    /// Seconds for a graceful end: those of the deletion, else the spec's.
    fn grace_seconds(&self) -> i64 {
        let spec = self.spec().termination_grace_period_seconds.unwrap_or(30);
        match self.is_deleted() {
            true => self.pod().metadata.deletion_grace_period_seconds.unwrap_or(spec),
            false => spec,
        }
    }
    /// Whether the pod must not be kept off the node: static, mirror or of a system priority.
    fn is_critical(&self) -> bool {
        const SYSTEM_CRITICAL: i32 = 2_000_000_000;
        self.is_static() || self.is_mirror() || self.spec().priority.unwrap_or(0) >= SYSTEM_CRITICAL
    }
}

impl PodExt for Pod {
    fn pod(&self) -> &Pod {
        self
    }
}

/// An init container that keeps running beside the others.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    component_helpers::resources::is_sidecar(container)
}

/// An ephemeral container in the shape of the others.
pub(crate) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        name: e.name,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        command: e.command,
        args: e.args,
        working_dir: e.working_dir,
        env: e.env,
        env_from: e.env_from,
        volume_mounts: e.volume_mounts,
        volume_devices: e.volume_devices,
        security_context: e.security_context,
        resources: e.resources,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        ..Container::default()
    }
}
