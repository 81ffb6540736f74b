//! The `Node` authorization mode: a kubelet reads what its own pods need, and nothing of other nodes.
//!
//! What an object's content decides (a node may only create a mirror pod of itself, or change its own labels) is left to
//! the NodeRestriction admission plugin. Every refusal says why.

mod graph;

use std::sync::Arc;

use apiserver::{
    authz::{Attributes, Authorizer, Decision, Rules},
    user::UserInfo,
};
use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::PolicyRule;

use self::graph::Kind;
pub(crate) use graph::Graph;

use super::rules;

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Decides for the members of `system:nodes`, has no opinion on others.
pub(crate) struct NodeAuthorizer {
    graph: Arc<Graph>,
    /// What every node may do: the rules of ClusterRole `system:node`.
    rules: Vec<PolicyRule>,
}

/// `Ok` is yes, `Err` no and why.
type Answer = Result<(), String>;

/// The name of the node that `user` is; empty if it is a node without a name, `None` if it is none.
fn node_of(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_PREFIX);
    user.in_group(NODES).then(|| name.unwrap_or_default())
}

fn no<T>(why: impl Into<String>) -> Result<T, String> {
    Err(why.into())
}

fn check(allowed: bool, why: impl FnOnce() -> String) -> Answer {
    if allowed { Ok(()) } else { Err(why()) }
}

/// Whether the request's field selector is `field=value` (among others).
fn selects(request: &Attributes, field: &str, value: &str) -> bool {
    request.field_selector.split(',').any(|term| {
        let (of, is) = term.split_once('=').unwrap_or_default();
        of.trim() == field && is.trim_start_matches('=').trim() == value
    })
}

// === impl NodeAuthorizer ===

impl NodeAuthorizer {
    pub(crate) fn new(graph: Arc<Graph>, rules: Vec<PolicyRule>) -> Self {
        Self { graph, rules }
    }

    fn decide(&self, node: &str, request: &Attributes) -> Answer {
        let by_rule = || check(self.rules.iter().any(|rule| rules::allows(rule, request)), String::new);
        if !request.is_resource {
            return by_rule();
        }
        match (request.group.as_str(), request.resource.as_str()) {
            ("", "secrets") => self.read(node, Kind::Secret, request),
            ("", "configmaps") => self.read(node, Kind::ConfigMap, request),
            ("", "persistentvolumeclaims") => self.claim(node, request),
            ("", "persistentvolumes") => {
                get_only(request)?;
                self.related(node, request, self.graph.uses_volume(node, &request.name))
            }
            ("resource.k8s.io", "resourceclaims") => {
                get_only(request)?;
                let refers = self.graph.refers(node, Kind::ResourceClaim, &request.namespace, &request.name);
                self.related(node, request, refers)
            }
            ("storage.k8s.io", "volumeattachments") => {
                get_only(request)?;
                self.related(node, request, self.graph.attaches(node, &request.name))
            }
            ("", "serviceaccounts") => self.service_account(node, request),
            ("coordination.k8s.io", "leases") => lease(node, request),
            ("storage.k8s.io", "csinodes") => csi_node(node, request),
            ("resource.k8s.io", "resourceslices") => self.slice(node, request),
            ("", "nodes") => own_node(node, request),
            ("", "pods") => self.pod(node, request),
            _ => by_rule(),
        }
    }

    fn related(&self, node: &str, request: &Attributes, related: bool) -> Answer {
        if request.name.is_empty() {
            return no("No Object name found");
        }
        check(related, || format!("no relationship found between node '{node}' and this object"))
    }

    fn read(&self, node: &str, kind: Kind, request: &Attributes) -> Answer {
        if !matches!(request.verb.as_str(), "get" | "list" | "watch") {
            return no("can only read resources of this type");
        }
        if !request.subresource.is_empty() {
            return no("cannot read subresource");
        }
        if request.namespace.is_empty() {
            return no("can only read namespaced object of this type");
        }
        self.related(node, request, self.graph.refers(node, kind, &request.namespace, &request.name))
    }

    fn claim(&self, node: &str, request: &Attributes) -> Answer {
        match (request.subresource.as_str(), request.verb.as_str()) {
            ("status", "update" | "patch") => {}
            ("status", _) => return no("can only get/update/patch this type"),
            _ => get_only(request)?,
        }
        self.related(node, request, self.graph.refers(node, Kind::Claim, &request.namespace, &request.name))
    }

    fn service_account(&self, node: &str, request: &Attributes) -> Answer {
        match (request.verb.as_str(), request.subresource.as_str()) {
            ("get", "") => {}
            ("create", _) if request.name.is_empty() => {
                return no("can only create tokens for individual service accounts");
            }
            ("create", "token") => {}
            ("create", _) => return no("can only create token subresource of serviceaccount"),
            _ => return no("can only create tokens for individual service accounts"),
        }
        let refers = self.graph.refers(node, Kind::ServiceAccount, &request.namespace, &request.name);
        self.related(node, request, refers)
    }

    fn slice(&self, node: &str, request: &Attributes) -> Answer {
        if !request.subresource.is_empty() {
            return no("cannot authorize ResourceSlice subresources");
        }
        match request.verb.as_str() {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => {
                self.related(node, request, self.graph.owns_slice(node, &request.name))
            }
            "watch" | "list" | "deletecollection" => check(selects(request, "spec.nodeName", node), || {
                "can only list/watch/deletecollection resourceslices with nodeName field selector".into()
            }),
            _ => no("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                     patch, delete, deletecollection"),
        }
    }

    fn pod(&self, node: &str, request: &Attributes) -> Answer {
        let runs = || self.graph.runs(node, &request.namespace, &request.name);
        match (request.subresource.as_str(), request.verb.as_str()) {
            ("", "get") => self.related(node, request, runs()),
            ("", "list" | "watch") if selects(request, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !request.name.is_empty() => self.related(node, request, runs()),
            ("", "list" | "watch") => no("can only list/watch pods with spec.nodeName field selector"),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => no(""),
        }
    }
}

fn get_only(request: &Attributes) -> Answer {
    if request.verb != "get" {
        return no("can only get individual resources of this type");
    }
    check(request.subresource.is_empty(), || "cannot get subresource".into())
}

fn lease(node: &str, request: &Attributes) -> Answer {
    if !matches!(request.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if request.namespace != LEASE_NAMESPACE {
        return no(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    check(request.verb == "create" || request.name == node, || {
        "can only access node lease with the same name as the requesting node".into()
    })
}

fn csi_node(node: &str, request: &Attributes) -> Answer {
    if !matches!(request.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !request.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    check(request.verb == "create" || request.name == node, || {
        "can only access CSINode with the same name as the requesting node".into()
    })
}

fn own_node(node: &str, request: &Attributes) -> Answer {
    match (request.subresource.as_str(), request.verb.as_str()) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if request.name == node => Ok(()),
        ("", "get" | "list" | "watch") if request.name.is_empty() => {
            no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            no(format!("node '{node}' cannot read '{}', only its own Node object", request.name))
        }
        _ => no(""),
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match node_of(&attributes.user) {
            None => Decision::no_opinion(""),
            Some("") => Decision::no_opinion(format!("unknown node for user {:?}", attributes.user.name)),
            Some(node) => match self.decide(node, attributes) {
                Ok(()) => Decision::allow(""),
                Err(why) => Decision::no_opinion(why),
            },
        }
    }

    async fn rules_for(&self, user: &UserInfo, _namespace: &str) -> Rules {
        Rules { incomplete: node_of(user).is_some(), ..Rules::default() }
    }
}

#[cfg(test)]
mod tests {
    use apiserver::authz::Verdict;
    use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
    use serde_json::json;

    use super::*;
    use crate::auth::{follow::Change, policy::Policy};

    fn authorizer() -> NodeAuthorizer {
        let graph = Arc::new(Graph::default());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "pod"},
            "spec": {
                "nodeName": "n1", "serviceAccountName": "sa",
                "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "env"}}]}],
                "volumes": [
                    {"name": "s", "secret": {"secretName": "s"}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "p", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}
                ]
            }
        }))
        .unwrap();
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": "pv"},
            "spec": {
                "claimRef": {"namespace": "ns", "name": "claim"},
                "csi": {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"namespace": "sys", "name": "stage"}}
            }
        }))
        .unwrap();
        graph.pod(Change::Replace(vec![pod]));
        graph.volume(Change::Put(volume));
        NodeAuthorizer::new(graph, Policy::load().rules_of("system:node"))
    }

    fn request(node: &str, verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
        let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user: UserInfo::new(&format!("system:node:{node}"), &[NODES]),
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            is_resource: true,
            ..Attributes::default()
        }
    }

    #[tokio::test]
    async fn a_node_reads_what_its_pods_need() {
        let authorizer = authorizer();
        let (leases, system) = ("coordination.k8s.io:leases", "kube-node-lease");
        for (verb, resource, namespace, name, own, other) in [
            ("get", "secrets", "ns", "s", true, false),
            ("watch", "configmaps", "ns", "env", true, false),
            ("watch", "configmaps", "ns", "kube-root-ca.crt", true, false),
            ("get", "secrets", "sys", "stage", true, false),
            ("get", "secrets", "ns", "none", false, false),
            ("list", "secrets", "ns", "", false, false),
            ("update", "secrets", "ns", "s", false, false),
            ("get", "persistentvolumeclaims", "ns", "claim", true, false),
            ("get", "persistentvolumes", "", "pv", true, false),
            ("create", "serviceaccounts/token", "ns", "sa", true, false),
            ("create", "serviceaccounts/token", "ns", "other", false, false),
            ("get", "pods", "ns", "pod", true, false),
            ("list", "pods", "", "", false, false),
            ("patch", "pods/status", "ns", "pod", true, true),
            ("get", "nodes", "", "n1", true, false),
            ("list", "nodes", "", "", false, false),
            ("update", leases, system, "n1", true, false),
            ("update", leases, "default", "n1", false, false),
            ("list", "services", "", "", true, true),
            ("delete", "services", "ns", "svc", false, false),
        ] {
            for (node, allowed) in [("n1", own), ("n2", other)] {
                let decision = authorizer.authorize(&request(node, verb, resource, namespace, name)).await;
                assert_eq!(decision.verdict == Verdict::Allow, allowed, "{node} {verb} {resource} {name} {decision:?}");
            }
        }
    }

    #[tokio::test]
    async fn pods_are_listed_by_node() {
        let authorizer = authorizer();
        let mut list = request("n1", "list", "pods", "", "");
        list.field_selector = "spec.nodeName=n1".into();
        assert_eq!(authorizer.authorize(&list).await.verdict, Verdict::Allow);
        list.field_selector = "spec.nodeName=n2".into();
        let refused = authorizer.authorize(&list).await;
        assert_eq!(refused.reason, "can only list/watch pods with spec.nodeName field selector");
    }

    #[tokio::test]
    async fn a_pod_that_is_gone_opens_no_doors() {
        let authorizer = authorizer();
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "pod"}})).unwrap();
        authorizer.graph.pod(Change::Delete(pod));
        let refused = authorizer.authorize(&request("n1", "get", "secrets", "ns", "s")).await;
        assert_eq!(refused.reason, "no relationship found between node 'n1' and this object");
    }
}
