//! What pods have to do with their nodes: PodNodeSelector, PodTolerationRestriction, PodTopologyLabels,
//! NodeDeclaredFeatureValidator and PodResizeValidator.

use std::{collections::BTreeMap, sync::Arc};

use api_types::k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::api::resource::Quantity};
use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    meta,
};
use async_trait::async_trait;
use component_helpers::resources::{amount, pod_requests};
use serde_json::{Map, Value};

use super::configuration::{PodNodeSelectors, TolerationRestriction};
use crate::cell::CoreCell;

fn is_new_pod(attributes: &Attributes<'_>) -> bool {
    attributes.is("", "pods") && attributes.operation == Operation::Create
}

async fn namespace_of(cell: &CoreCell, attributes: &Attributes<'_>) -> Result<Arc<Value>> {
    let name = attributes.namespace;
    cell.find("", "namespaces", "", name).await?.ok_or_else(|| Error::not_found("", "namespaces", name))
}

fn annotation<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    meta::get(object, "annotations")?.get(name)?.as_str()
}

/// Pods go to the nodes that their namespace is given.
pub(super) struct PodNodeSelector {
    pub(super) cell: CoreCell,
    pub(super) selectors: PodNodeSelectors,
}

/// `a=b,c=d`.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let all = text.split(',').filter_map(|pair| pair.split_once('='));
    all.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
}

impl PodNodeSelector {
    async fn wanted(&self, attributes: &Attributes<'_>) -> Result<BTreeMap<String, String>> {
        let namespace = namespace_of(&self.cell, attributes).await?;
        let own = annotation(&namespace, "scheduler.alpha.kubernetes.io/node-selector");
        let text = own.or_else(|| self.selectors.get("clusterDefaultNodeSelector").map(String::as_str));
        Ok(text.map(pairs).unwrap_or_default())
    }
}

#[async_trait]
impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_new_pod(attributes)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let wanted = self.wanted(attributes).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        meta::map_mut(pod, "spec");
        let own = meta::map_mut(&mut pod["spec"], "nodeSelector");
        for (key, value) in wanted {
            if own.get(&key).is_some_and(|other| *other != value.as_str()) {
                let why = "pod node label selector conflicts with its namespace node label selector";
                return Err(attributes.forbidden(why));
            }
            own.insert(key, value.into());
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let allowed = self.selectors.get(attributes.namespace).map(|text| pairs(text)).unwrap_or_default();
        let own = pod["spec"]["nodeSelector"].as_object();
        let fits = |(key, value): (&String, &Value)| allowed.get(key).is_some_and(|a| *value == a.as_str());
        if allowed.is_empty() || own.into_iter().flatten().all(fits) {
            return Ok(());
        }
        Err(attributes.forbidden("pod node label selector labels conflict with its namespace whitelist"))
    }
}

/// Pods get the tolerations of their namespace, and no others than it allows.
pub(super) struct PodTolerationRestriction {
    pub(super) cell: CoreCell,
    pub(super) restriction: TolerationRestriction,
}

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The tolerations in an annotation; those of the cluster where there are none.
fn tolerations(namespace: &Value, name: &str, cluster: &[Value]) -> Result<Vec<Value>> {
    let Some(text) = annotation(namespace, name).filter(|t| !t.is_empty()) else { return Ok(cluster.to_vec()) };
    let list: Vec<Value> = serde_json::from_str(text).map_err(Error::internal)?;
    Ok(if list.is_empty() { cluster.to_vec() } else { list })
}

fn same_taint(a: &Value, b: &Value) -> bool {
    let text = |v: &Value, name: &str| v[name].as_str().unwrap_or_default().to_owned();
    let operator =
        |v: &Value| Some(text(v, "operator")).filter(|o| !o.is_empty()).unwrap_or_else(|| "Equal".to_owned());
    ["key", "effect", "value"].iter().all(|name| text(a, name) == text(b, name)) && operator(a) == operator(b)
}

/// Whether one toleration allows another: it tolerates at least as much, for at least as long.
fn covers(allowed: &Value, toleration: &Value) -> bool {
    let text = |v: &Value, name: &str| v[name].as_str().unwrap_or_default().to_owned();
    let key = text(allowed, "key").is_empty() || text(allowed, "key") == text(toleration, "key");
    let effect = text(allowed, "effect").is_empty() || text(allowed, "effect") == text(toleration, "effect");
    let exists = text(allowed, "operator") == "Exists";
    let value =
        exists || (text(toleration, "operator") != "Exists" && text(allowed, "value") == text(toleration, "value"));
    let seconds = match (allowed["tolerationSeconds"].as_i64(), toleration["tolerationSeconds"].as_i64()) {
        (Some(most), Some(wanted)) => wanted <= most,
        (Some(_), None) => false,
        (None, _) => true,
    };
    key && effect && value && seconds
}

#[async_trait]
impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "pods") && matches!(attributes.operation, Operation::Create | Operation::Update)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        if attributes.operation == Operation::Update {
            return Ok(());
        }
        let namespace = namespace_of(&self.cell, attributes).await?;
        let mut merged = tolerations(&namespace, DEFAULTS, &self.restriction.default)?;
        if merged.is_empty() {
            return Ok(());
        }
        for own in pod["spec"]["tolerations"].as_array().into_iter().flatten() {
            if !merged.iter().any(|t| same_taint(t, own)) {
                merged.push(own.clone());
            }
        }
        meta::map_mut(pod, "spec").insert("tolerations".to_owned(), merged.into());
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let own = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        if own.is_empty() {
            return Ok(());
        }
        let namespace = namespace_of(&self.cell, attributes).await?;
        let allowed = tolerations(&namespace, ALLOWED, &self.restriction.whitelist)?;
        if allowed.is_empty() || own.iter().all(|t| allowed.iter().any(|a| covers(a, t))) {
            return Ok(());
        }
        let why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
        Err(attributes.forbidden(why))
    }
}

/// Pods carry the zone and region of their node.
pub(super) struct PodTopologyLabels(pub(super) CoreCell);

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        let binding = attributes.resource.group.is_empty()
            && attributes.resource.plural == "pods"
            && attributes.subresource == "binding";
        is_new_pod(attributes) || binding
    }

    async fn mutate(&self, _: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        let node = meta::path_text(pod, "spec.nodeName");
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = self.0.cached("", "nodes", "", &node)? else { return Ok(()) };
        let labels = meta::get(&node, "labels").and_then(Value::as_object).cloned().unwrap_or_default();
        let copied: Map<String, Value> = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), labels.get(key)?.clone())))
            .collect();
        if copied.is_empty() {
            return Ok(());
        }
        let own = meta::map_mut(meta::metadata_value(pod), "labels");
        for (key, value) in copied {
            own.entry(key).or_insert(value);
        }
        Ok(())
    }
}

fn is_resize(attributes: &Attributes<'_>) -> bool {
    attributes.operation == Operation::Update
        && attributes.resource.group.is_empty()
        && attributes.resource.plural == "pods"
        && attributes.subresource == "resize"
}

/// The node of a pod whose spec changes; none while it has no node, or when nothing changes.
fn node_of_changed(cell: &CoreCell, attributes: &Attributes<'_>, pod: &Value) -> Result<Option<Arc<Value>>> {
    let name = meta::path_text(pod, "spec.nodeName");
    let unchanged = attributes.old.is_some_and(|old| meta::generation(old) == meta::generation(pod));
    if name.is_empty() || unchanged {
        return Ok(None);
    }
    let node = cell.cached("", "nodes", "", &name)?;
    node.map(Some).ok_or_else(|| attributes.forbidden(&format!("node {name:?} not found")))
}

/// Changes of a pod ask for nothing that its node can't do.
pub(super) struct NodeDeclaredFeatures(pub(super) CoreCell);

/// The features that a change of a pod needs.
fn needed_features(pod: &Value, old: &Value) -> Vec<&'static str> {
    let mut needed = Vec::new();
    let cpus = |pod: &Value| -> Vec<Option<api_types::Quantity>> {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        containers.map(|c| c["resources"]["requests"]["cpu"].as_str()?.parse().ok()).collect()
    };
    if old["status"]["qosClass"] == "Guaranteed" && cpus(pod) != cpus(old) {
        needed.push("GuaranteedQoSPodCPUResize");
    }
    if pod["spec"].get("resources") != old["spec"].get("resources") {
        needed.push("InPlacePodLevelResourcesVerticalScaling");
    }
    needed
}

#[async_trait]
impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_resize(attributes) || (attributes.is("", "pods") && attributes.operation == Operation::Update)
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let needed = attributes.old.map(|old| needed_features(pod, old)).unwrap_or_default();
        if needed.is_empty() {
            return Ok(());
        }
        let Some(node) = node_of_changed(&self.0, attributes, pod)? else { return Ok(()) };
        let declared = node["status"]["declaredFeatures"].as_array().cloned().unwrap_or_default();
        let missing: Vec<&str> = needed.into_iter().filter(|f| !declared.iter().any(|d| d == f)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "pod update requires features {} which are not available on node {:?}",
            missing.join(", "),
            meta::name(&node)
        )))
    }
}

/// Pods are not resized beyond their node.
pub(super) struct PodResize(pub(super) CoreCell);

#[async_trait]
impl Plugin for PodResize {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        is_resize(attributes)
    }

    async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        let Some(node) = node_of_changed(&self.0, attributes, pod)? else { return Ok(()) };
        let typed: Pod = serde_json::from_value(pod.clone()).map_err(Error::internal)?;
        let requests = pod_requests(&typed);
        let mut beyond = Vec::new();
        for name in ["cpu", "memory"] {
            let quantity = node["status"]["allocatable"][name].as_str().unwrap_or("0");
            let allocatable = amount(name, &Quantity(quantity.to_owned()));
            let requested = requests.get(name).copied().unwrap_or_default();
            if requested > allocatable {
                beyond.push(format!("{name}, requested: {requested}, allocatable: {allocatable}"));
            }
        }
        if !beyond.is_empty() {
            let why = format!("Node didn't have enough allocatable resources: {}", beyond.join("; "));
            return Err(attributes.forbidden(&why));
        }
        let system = meta::get(&node, "labels").and_then(|l| l.get("kubernetes.io/os")).and_then(Value::as_str);
        if system == Some("linux") {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "pod resize is only supported on linux nodes, node {:?} is {:?}",
            meta::name(&node),
            system.unwrap_or_default()
        )))
    }
}
