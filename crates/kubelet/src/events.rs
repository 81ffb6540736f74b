//! Events about pods, their containers and the node. Without an API server they only go to the log.

use crate::pod::{PodExt, Role};
use api_types::k8s_openapi::api::core::v1::{ObjectReference, Pod};
use controller_runtime::{EventRecorder, EventType};

/// Records events.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Option<EventRecorder>,
    node: String,
}

impl Events {
    /// Events of this node.
    pub(crate) fn new(recorder: Option<EventRecorder>, node: &str) -> Self {
        Self { recorder, node: node.to_owned() }
    }

    fn send(&self, regarding: ObjectReference, type_: EventType, reason: &str, message: &str) {
        tracing::debug!(object = ?regarding.name, reason, message, "event");
        if let Some(recorder) = &self.recorder {
            recorder.event(regarding, type_, reason, message);
        }
    }

    /// About a pod.
    pub(crate) fn pod(&self, pod: &Pod, type_: EventType, reason: &str, message: &str) {
        self.send(reference(pod, None), type_, reason, message);
    }

    /// About a container of a pod.
    pub(crate) fn container(&self, pod: &Pod, container: &str, type_: EventType, reason: &str, message: &str) {
        self.send(reference(pod, Some(container)), type_, reason, message);
    }

    /// About the node.
    pub(crate) fn node(&self, type_: EventType, reason: &str, message: &str) {
        let regarding = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node.clone()),
            // Upstream's habit, which `kubectl describe node` looks for.
            uid: Some(self.node.clone()),
            ..ObjectReference::default()
        };
        self.send(regarding, type_, reason, message);
    }
}

fn reference(pod: &Pod, container: Option<&str>) -> ObjectReference {
    let field = container.map(|name| {
        let list = match pod.container(name) {
            Some((Role::Init, _)) => "initContainers",
            Some((Role::Ephemeral, _)) => "ephemeralContainers",
            _ => "containers",
        };
        format!("spec.{list}{{{name}}}")
    });
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.ns().to_owned()),
        name: Some(pod.pod_name().to_owned()),
        uid: Some(pod.pod_uid().to_owned()),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: field,
    }
}
