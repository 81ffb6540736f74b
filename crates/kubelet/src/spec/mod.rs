//! From a pod's spec to what the runtime is asked for. Pure: what must be fetched comes in as arguments.

pub mod container;
pub mod dns;
pub mod env;
pub mod expand;
pub mod fields;
pub mod hosts;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod service_env;

/// Labels and annotations by which containers are found again; upstream's names, so that either kubelet adopts the other's.
pub mod labels {
    /// Pod name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Pod namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Pod UID.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Container name.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Hash of the container's identity.
    pub const HASH: &str = "io.kubernetes.container.hash";
    /// Starts before this one.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container leaves its last words.
    pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Whether the log's end stands in for missing last words.
    pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Ports, as JSON.
    pub const PORTS: &str = "io.kubernetes.container.ports";
    /// The preStop handler, as JSON: needed when the pod is gone from the API.
    pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
    /// The pod's termination grace period in seconds.
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
}
