//! Plugins that need to know nothing but the object.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::{Value, json};

/// A plugin that lets everything pass: AlwaysAdmit, and JobValidation, which has nothing to check while jobs make no
/// pod groups.
pub(super) struct Nothing(pub(super) &'static str);

#[async_trait]
impl Plugin for Nothing {
    fn name(&self) -> &'static str {
        self.0
    }

    fn wants(&self, _: &Attributes<'_>) -> bool {
        false
    }
}

/// AlwaysDeny: refuses every write.
pub(super) struct AlwaysDeny;

#[async_trait]
impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn wants(&self, _: &Attributes<'_>) -> bool {
        true
    }

    fn connects(&self) -> bool {
        true
    }

    async fn validate(&self, attributes: &Attributes<'_>, _: &Value) -> Result<()> {
        Err(attributes.forbidden("admission control is denying all modifications"))
    }
}

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn is_pod_write(attributes: &Attributes<'_>) -> bool {
    attributes.is("", "pods") && matches!(attributes.operation, Operation::Create | Operation::Update)
}

/// AlwaysPullImages: images are pulled anew for every pod, so that who has no right to one can't use a copy.
pub(super) struct AlwaysPullImages;

impl AlwaysPullImages {
    /// The images that a pod uses.
    fn images(pod: &Value) -> Vec<&str> {
        let all = CONTAINERS.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten());
        all.filter_map(|c| c["image"].as_str()).collect()
    }
}

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_pod_write(attributes)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let before = attributes.old.map(AlwaysPullImages::images).unwrap_or_default();
        if attributes.old.is_some() && AlwaysPullImages::images(pod).iter().all(|image| before.contains(image)) {
            return Ok(());
        }
        for list in CONTAINERS {
            for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                container["imagePullPolicy"] = "Always".into();
            }
        }
        Ok(())
    }
}

/// DenyServiceExternalIPs: no new external addresses of services.
pub(super) struct DenyServiceExternalIps;

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "services") && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, attributes: &Attributes<'_>, service: &Value) -> Result<()> {
        let of = |service: &Value| service["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
        let before = attributes.old.map(of).unwrap_or_default();
        if of(service).iter().all(|ip| before.contains(ip)) {
            return Ok(());
        }
        Err(attributes.forbidden("Use of external IPs is denied by admission control"))
    }
}

/// ExtendedResourceToleration: pods tolerate the taints of nodes that are kept for a resource that they ask for.
pub(super) struct ExtendedResourceToleration;

impl ExtendedResourceToleration {
    /// The extended resources that a pod requests.
    fn wanted(pod: &Value) -> std::collections::BTreeSet<String> {
        let all = ["initContainers", "containers"].into_iter();
        let all = all.flat_map(|list| pod["spec"][list].as_array().into_iter().flatten());
        let names =
            all.flat_map(|c| c["resources"]["requests"].as_object().into_iter().flatten().map(|(name, _)| name));
        let extended = |name: &&String| {
            let domain = name.split_once('/').map_or("", |(domain, _)| domain);
            !domain.is_empty() && !domain.ends_with("kubernetes.io") && !name.starts_with("requests.")
        };
        names.filter(extended).cloned().collect()
    }
}

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_pod_write(attributes)
    }

    async fn mutate(&self, _: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let wanted = ExtendedResourceToleration::wanted(pod);
        if wanted.is_empty() {
            return Ok(());
        }
        let spec = meta::map_mut(pod, "spec");
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        for key in wanted {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
            if let Some(list) = tolerations.as_array_mut()
                && !list.contains(&toleration)
            {
                list.push(toleration);
            }
        }
        Ok(())
    }
}

/// LimitPodHardAntiAffinityTopology: pods may keep others away from their node, not from more.
pub(super) struct LimitPodHardAntiAffinityTopology;

#[async_trait]
impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_pod_write(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        const ALLOWED: &str = "kubernetes.io/hostname";
        let terms = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let mut keys = terms.as_array().into_iter().flatten().filter_map(|t| t["topologyKey"].as_str());
        match keys.find(|key| *key != ALLOWED) {
            None => Ok(()),
            Some(key) => Err(attributes.forbidden(&format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {ALLOWED} is allowed"
            ))),
        }
    }
}
