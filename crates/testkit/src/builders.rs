//! Objects for tests, said in a line: `pod("a").cpu("100m").node("n1").build()`.

use std::collections::BTreeMap;

use api_types::k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec},
        core::v1::{Container, Namespace, Pod, PodSpec, PodTemplateSpec, ResourceRequirements},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
    },
};

/// Builds a pod with one container `main`.
#[derive(Clone, Debug)]
pub struct PodBuilder(Pod);

/// Builds a deployment; its pods have the label `app` with its name.
#[derive(Clone, Debug)]
pub struct DeploymentBuilder {
    name: String,
    namespace: String,
    replicas: i32,
    pod: PodBuilder,
}

/// A pod.
pub fn pod(name: &str) -> PodBuilder {
    let container = Container { name: "main".into(), image: Some("hollow:1".into()), ..Container::default() };
    let metadata = ObjectMeta { name: Some(name.into()), namespace: Some("default".into()), ..ObjectMeta::default() };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    PodBuilder(Pod { metadata, spec: Some(spec), status: None })
}

/// A deployment of one replica.
pub fn deployment(name: &str) -> DeploymentBuilder {
    let pod = pod("").label("app", name);
    DeploymentBuilder { name: name.into(), namespace: "default".into(), replicas: 1, pod }
}

/// A namespace.
pub fn namespace(name: &str) -> Namespace {
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    Namespace { metadata, ..Namespace::default() }
}

// === impl PodBuilder ===

impl PodBuilder {
    fn spec(&mut self) -> &mut PodSpec {
        self.0.spec.get_or_insert_default()
    }

    fn request(mut self, resource: &str, amount: &str) -> Self {
        let container = &mut self.spec().containers[0];
        let resources = container.resources.get_or_insert_with(ResourceRequirements::default);
        resources.requests.get_or_insert_default().insert(resource.into(), Quantity(amount.into()));
        self
    }

    /// Requests CPU.
    pub fn cpu(self, amount: &str) -> Self {
        self.request("cpu", amount)
    }

    /// Requests memory.
    pub fn memory(self, amount: &str) -> Self {
        self.request("memory", amount)
    }

    /// Is bound to a node.
    pub fn node(mut self, name: &str) -> Self {
        self.spec().node_name = Some(name.into());
        self
    }

    pub fn namespace(mut self, name: &str) -> Self {
        self.0.metadata.namespace = Some(name.into());
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    pub fn image(mut self, image: &str) -> Self {
        self.spec().containers[0].image = Some(image.into());
        self
    }

    /// `Always`, `OnFailure` or `Never`.
    pub fn restart(mut self, policy: &str) -> Self {
        self.spec().restart_policy = Some(policy.into());
        self
    }

    pub fn build(self) -> Pod {
        self.0
    }
}

// === impl DeploymentBuilder ===

impl DeploymentBuilder {
    pub fn replicas(mut self, count: i32) -> Self {
        self.replicas = count;
        self
    }

    pub fn namespace(mut self, name: &str) -> Self {
        self.namespace = name.into();
        self
    }

    /// What its pods are like.
    pub fn pods(mut self, change: impl FnOnce(PodBuilder) -> PodBuilder) -> Self {
        self.pod = change(self.pod);
        self
    }

    pub fn image(self, image: &str) -> Self {
        self.pods(|pod| pod.image(image))
    }

    pub fn build(self) -> Deployment {
        let pod = self.pod.build();
        let labels = pod.metadata.labels.unwrap_or_default();
        let app: BTreeMap<_, _> =
            labels.iter().filter(|(key, _)| *key == "app").map(|(k, v)| (k.clone(), v.clone())).collect();
        let metadata = ObjectMeta { name: Some(self.name), namespace: Some(self.namespace), ..ObjectMeta::default() };
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
            spec: pod.spec,
        };
        let spec = DeploymentSpec {
            replicas: Some(self.replicas),
            selector: LabelSelector { match_labels: Some(app), ..LabelSelector::default() },
            template,
            ..DeploymentSpec::default()
        };
        Deployment { metadata, spec: Some(spec), status: None }
    }
}
