//! From a pod's spec to what the runtime is asked for. Pure: what must be fetched comes in as arguments.

pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod hosts;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod service_env;

/// Labels and annotations by which containers are found again; upstream's names, so that either kubelet adopts the other's.
pub(crate) mod labels {
    /// Pod name.
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Pod namespace.
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Pod UID.
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Container name.
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Hash of the container's identity.
    pub(crate) const HASH: &str = "io.kubernetes.container.hash";
    /// Starts before this one.
    pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container leaves its last words.
    pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Whether the log's end stands in for missing last words.
    pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Ports, as JSON.
    pub(crate) const PORTS: &str = "io.kubernetes.container.ports";
    /// The preStop handler, as JSON: needed when the pod is gone from the API.
    pub(crate) const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
    /// The pod's termination grace period in seconds.
    pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
}
