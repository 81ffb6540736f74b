//! What a new cluster is given through the API: the right of new nodes to join with a token.

use anyhow::{Context as _, Result};
use kube::{
    Client,
    api::{Api, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// The group that a bootstrap token of this cluster belongs to.
const BOOTSTRAPPERS: &str = "system:bootstrappers:keelson:nodes";

/// Applies the objects; repeating it changes nothing.
pub(crate) async fn apply(client: &Client, token: &str) -> Result<()> {
    for object in objects(token)? {
        let kind = object["kind"].as_str().context("kind")?;
        let (group, version) = match object["apiVersion"].as_str().context("apiVersion")?.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", "v1"),
        };
        let name = object["metadata"]["name"].as_str().context("name")?.to_owned();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let params = PatchParams::apply("keelson").force();
        api.patch(&name, &params, &Patch::Apply(&object)).await.with_context(|| format!("apply {kind} {name}"))?;
    }
    Ok(())
}

fn objects(token: &str) -> Result<Vec<Value>> {
    let (id, secret) = token.split_once('.').context("a bootstrap token is ID.SECRET")?;
    Ok(vec![
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": id,
                "token-secret": secret,
                "usage-bootstrap-authentication": "true",
                "usage-bootstrap-signing": "true",
                "auth-extra-groups": BOOTSTRAPPERS,
            },
        }),
        binding("keelson:kubelet-bootstrap", "system:node-bootstrapper", BOOTSTRAPPERS),
        binding(
            "keelson:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            BOOTSTRAPPERS,
        ),
        binding(
            "keelson:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            "system:nodes",
        ),
    ])
}

fn binding(name: &str, role: &str, group: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    })
}
