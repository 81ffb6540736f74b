//! NodeRestriction: what a kubelet may write, as far as the objects' content decides it. The Node authorizer has decided
//! the rest.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::{Error, Result},
    meta,
};
use async_trait::async_trait;
use serde_json::Value;

use crate::cell::CoreCell;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels of this namespace tell workloads apart that a node must not draw to itself.
const RESTRICTED: &str = "node-restriction.kubernetes.io";
/// The labels of Kubernetes' own namespaces that a kubelet sets.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const KUBELET_LABEL_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) struct NodeRestriction(pub(super) CoreCell);

/// `Err` says what the node may not do.
type Answer = std::result::Result<(), String>;

fn check(allowed: bool, why: impl FnOnce() -> String) -> Answer {
    if allowed { Ok(()) } else { Err(why()) }
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.user.in_group("system:nodes") && attributes.user.name.starts_with("system:node:")
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let node = attributes.user.name.trim_start_matches("system:node:");
        let resource = attributes.resource;
        let refused = |why: String| attributes.forbidden(&why);
        match (resource.group.as_str(), resource.plural.as_str(), attributes.subresource) {
            ("", "pods", "") => self.pod(node, attributes, object).await,
            ("", "pods", "status") => pod_status(node, attributes, object).map_err(refused),
            ("", "pods", "eviction") => self.eviction(node, attributes).await,
            ("", "pods", other) => {
                Err(refused(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")))
            }
            ("", "nodes", _) => own_node(node, attributes, object).map_err(refused),
            ("", "persistentvolumeclaims", "status") => claim_status(node, attributes, object).map_err(refused),
            ("", "persistentvolumeclaims", _) => Err(refused("may only update PVC status".into())),
            ("", "serviceaccounts", "token") => self.token(node, attributes, object).await,
            ("coordination.k8s.io", "leases", _) => named_after(node, attributes, object, "lease").map_err(refused),
            ("storage.k8s.io", "csinodes", _) => named_after(node, attributes, object, "CSINode").map_err(refused),
            ("resource.k8s.io", "resourceslices", _) => slice(node, attributes, object).map_err(refused),
            _ => Ok(()),
        }
    }
}

// === impl NodeRestriction ===

impl NodeRestriction {
    async fn pod(&self, node: &str, attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
        match attributes.operation {
            Operation::Create => {
                mirror_pod(node, pod).map_err(|why| attributes.forbidden(&why))?;
                let uid = self.0.find("", "nodes", "", node).await?.map(|it| meta::text(&it, "uid").to_owned());
                let uid = uid.ok_or_else(|| Error::not_found("", "nodes", node))?;
                let owner = meta::path_text(&pod["metadata"]["ownerReferences"][0], "uid");
                let why = || attributes.forbidden(&format!("node {node} UID mismatch: expected {owner} got {uid}"));
                if owner == uid { Ok(()) } else { Err(why()) }
            }
            Operation::Delete => {
                let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                self.bound(node, attributes, attributes.name, &why).await
            }
            other => Err(attributes.forbidden(&format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                other.name()
            ))),
        }
    }

    async fn eviction(&self, node: &str, attributes: &Attributes<'_>) -> Result<()> {
        let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
        self.bound(node, attributes, attributes.name, &why).await
    }

    /// Whether the pod runs on the node.
    async fn bound(&self, node: &str, attributes: &Attributes<'_>, name: &str, why: &str) -> Result<()> {
        let pods = self.0.resource("", "pods")?;
        let pod = self.0.core()?.registry.get_value(&pods, attributes.namespace, name).await?;
        if node_of(&pod) == node { Ok(()) } else { Err(attributes.forbidden(why)) }
    }

    /// A node gets tokens for its own pods only, and only such that end with the pod.
    async fn token(&self, node: &str, attributes: &Attributes<'_>, request: &Value) -> Result<()> {
        let bound = &request["spec"]["boundObjectRef"];
        let (kind, name) = (meta::path_text(bound, "kind"), meta::path_text(bound, "name"));
        if kind != "Pod" || meta::path_text(bound, "apiVersion") != "v1" || name.is_empty() {
            return Err(attributes.forbidden("node requested token not bound to a pod"));
        }
        if meta::path_text(bound, "uid").is_empty() {
            return Err(attributes.forbidden("node requested token with a pod binding without a uid"));
        }
        let why = "node requested token bound to a pod scheduled on a different node";
        self.bound(node, attributes, &name, why).await
    }
}

fn node_of(pod: &Value) -> String {
    meta::path_text(pod, "spec.nodeName")
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A node writes pods only to show what it runs from files; such a pod must not reach into the API.
fn mirror_pod(node: &str, pod: &Value) -> Answer {
    let mirror = meta::get(pod, "annotations").is_some_and(|annotations| annotations.get(MIRROR).is_some());
    check(mirror, || format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"))?;
    check(node_of(pod) == node, || format!("node {node:?} can only create pods with spec.nodeName set to itself"))?;
    let [owner] = list(pod, "/metadata/ownerReferences") else {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    };
    let is_self = (owner["apiVersion"].as_str(), owner["kind"].as_str(), owner["name"].as_str())
        == (Some("v1"), Some("Node"), Some(node));
    check(is_self, || format!("node {node:?} can only create pods with an owner reference set to itself"))?;
    check(owner["controller"] == true, || {
        format!("node {node:?} can only create pods with a controller owner reference set to itself")
    })?;
    check(owner["blockOwnerDeletion"] != true, || {
        format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
    })?;
    let reference = reference(pod);
    check(reference.is_none(), || {
        format!("node {node:?} can not create pods that reference {}", reference.unwrap_or_default())
    })
}

/// What kind of API object the pod needs.
fn reference(pod: &Value) -> Option<&'static str> {
    if !meta::path_text(pod, "spec.serviceAccountName").is_empty() {
        return Some("a service account");
    }
    if !list(pod, "/spec/imagePullSecrets").is_empty() {
        return Some("secrets");
    }
    for containers in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
        for container in list(pod, containers) {
            let vars = list(container, "/env").iter().filter_map(|var| var.get("valueFrom"));
            for source in vars.chain(list(container, "/envFrom")) {
                if source.get("secretKeyRef").or(source.get("secretRef")).is_some() {
                    return Some("secrets");
                }
                if source.get("configMapKeyRef").or(source.get("configMapRef")).is_some() {
                    return Some("configmaps");
                }
            }
        }
    }
    let volumes = list(pod, "/spec/volumes").iter();
    let projected = volumes.clone().flat_map(|volume| list(volume, "/projected/sources"));
    volumes.chain(projected).find_map(|source| {
        let needs = [
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("clusterTrustBundle", "clustertrustbundles"),
            ("serviceAccountToken", "a service account"),
        ];
        needs.into_iter().find(|(field, _)| source.get(*field).is_some()).map(|(_, what)| what)
    })
}

fn pod_status(node: &str, attributes: &Attributes<'_>, pod: &Value) -> Answer {
    let Some(old) = attributes.old else {
        return Err(format!("unexpected operation {:?}", attributes.operation.name()));
    };
    check(node_of(old) == node, || {
        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
    })?;
    check(meta::get(old, "labels") == meta::get(pod, "labels"), || {
        format!("node {node:?} cannot update labels through pod status")
    })?;
    let claims = |pod: &Value| list(pod, "/status/resourceClaimStatuses").to_vec();
    check(claims(old) == claims(pod), || format!("node {node:?} cannot update resource claim statues"))
}

fn own_node(node: &str, attributes: &Attributes<'_>, object: &Value) -> Answer {
    let name = match attributes.name {
        "" => meta::text(object, "name"),
        name => name,
    };
    check(name == node, || format!("node {node:?} is not allowed to modify node {name:?}"))?;
    if !matches!(attributes.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let labels = forbidden_labels(object, attributes.old);
    match attributes.old {
        None => check(labels.is_empty(), || {
            format!("node {node:?} is not allowed to set the following labels: {}", labels.join(", "))
        }),
        Some(old) => {
            check(list(old, "/spec/taints") == list(object, "/spec/taints"), || {
                format!("node {node:?} is not allowed to modify taints")
            })?;
            check(labels.is_empty(), || format!("is not allowed to modify labels: {}", labels.join(", ")))
        }
    }
}

/// The labels that differ between old and new and that a node must not touch, in order.
fn forbidden_labels(new: &Value, old: Option<&Value>) -> Vec<String> {
    let labels = |object: &Value| meta::get(object, "labels").and_then(Value::as_object).cloned().unwrap_or_default();
    let (new, old) = (labels(new), old.map(labels).unwrap_or_default());
    let mut touched: Vec<_> =
        new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key)).cloned().collect();
    touched.retain(|label| !may_set(label));
    touched.sort();
    touched.dedup();
    touched
}

fn may_set(label: &str) -> bool {
    let Some((namespace, _)) = label.split_once('/') else { return true };
    let within = |of: &str| namespace == of || namespace.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
    if within(RESTRICTED) {
        return false;
    }
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved || KUBELET_LABELS.contains(&label) || KUBELET_LABEL_NAMESPACES.into_iter().any(within)
}

fn claim_status(node: &str, attributes: &Attributes<'_>, claim: &Value) -> Answer {
    let Some(old) = attributes.old else {
        return Err(format!("unexpected operation {:?}", attributes.operation.name()));
    };
    let rest = |claim: &Value| {
        let mut rest = claim.clone();
        if let Some(status) = rest.get_mut("status").and_then(Value::as_object_mut) {
            for field in ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"] {
                status.remove(field);
            }
        }
        if let Some(metadata) = rest.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
            metadata.remove("managedFields");
        }
        rest
    };
    check(rest(old) == rest(claim), || {
        format!("node {node:?} is not allowed to update fields other than status.capacity and status.conditions")
    })
}

/// Node leases and CSINodes have the name of their node. Other leases are the authorizer's to refuse.
fn named_after(node: &str, attributes: &Attributes<'_>, object: &Value, what: &str) -> Answer {
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let name = meta::text(object, "name");
    check(name == node, || format!("can only access {what} with the same name as the requesting node"))
}

fn slice(node: &str, attributes: &Attributes<'_>, slice: &Value) -> Answer {
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    check(meta::path_text(slice, "spec.nodeName") == node, || {
        "can only create ResourceSlice with the same NodeName as the requesting node".into()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_that_a_node_may_set() {
        for (label, allowed) in [
            ("mine", true),
            ("example.com/mine", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/anything", true),
            ("x.kubelet.kubernetes.io/anything", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("kubernetes.io/other", false),
            ("node-restriction.kubernetes.io/x", false),
            ("team.node-restriction.kubernetes.io/x", false),
            ("notkubernetes.io/x", true),
        ] {
            assert_eq!(may_set(label), allowed, "{label}");
        }
        let node = |labels: Value| json!({"metadata": {"labels": labels}});
        let old = node(json!({"k8s.io/a": "1", "k8s.io/b": "1", "c": "1"}));
        let new = node(json!({"k8s.io/a": "1", "k8s.io/b": "2", "k8s.io/d": "1", "c": "2"}));
        assert_eq!(forbidden_labels(&new, Some(&old)), ["k8s.io/b", "k8s.io/d"]);
    }

    #[test]
    fn mirror_pods_reach_nothing() {
        let pod = |spec: Value| {
            let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u", "controller": true});
            let metadata = json!({"annotations": {MIRROR: "hash"}, "ownerReferences": [owner]});
            json!({"metadata": metadata, "spec": spec})
        };
        let good = pod(json!({"nodeName": "n1", "containers": [{"name": "c"}]}));
        assert_eq!(mirror_pod("n1", &good), Ok(()));
        assert!(mirror_pod("n2", &good).is_err());
        for (spec, what) in [
            (json!({"nodeName": "n1", "serviceAccountName": "sa"}), "a service account"),
            (json!({"nodeName": "n1", "volumes": [{"secret": {}}]}), "secrets"),
            (json!({"nodeName": "n1", "volumes": [{"projected": {"sources": [{"configMap": {}}]}}]}), "configmaps"),
            (json!({"nodeName": "n1", "containers": [{"envFrom": [{"secretRef": {}}]}]}), "secrets"),
            (
                json!({"nodeName": "n1", "initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {}}}]}]}),
                "configmaps",
            ),
        ] {
            assert_eq!(
                mirror_pod("n1", &pod(spec)),
                Err(format!("node \"n1\" can not create pods that reference {what}"))
            );
        }
        let mut plain = good;
        plain["metadata"]["annotations"] = json!({});
        assert!(mirror_pod("n1", &plain).is_err());
    }
}
