//! ServiceAccount: a pod runs as one, and gets its token as a projected volume.

use apiserver::{
    admission::{Attributes, Operation, Plugin},
    error::Result,
    meta,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::cell::CoreCell;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
const TOKEN_SECONDS: i64 = 3607;

pub(super) struct ServiceAccount(pub(super) CoreCell);

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn wants(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is("", "pods") && attributes.operation == Operation::Create
    }

    async fn mutate(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
        if is_mirror(pod) {
            return refuse_for_mirror(attributes, pod);
        }
        let spec = meta::map_mut(pod, "spec");
        let named = spec.get("serviceAccountName").and_then(Value::as_str).filter(|n| !n.is_empty());
        let name = named.unwrap_or("default").to_owned();
        spec.insert("serviceAccountName".to_owned(), name.clone().into());
        spec.insert("serviceAccount".to_owned(), name.clone().into());
        let refuse = |why: &str| {
            attributes.forbidden(&format!("error looking up service account {}/{name}: {why}", attributes.namespace))
        };
        let problems = api_types::names::path_segment(&name);
        if !problems.is_empty() {
            return Err(refuse(&format!("invalid resource name {name:?}: [{}]", problems.join(", "))));
        }
        let found = self.0.find("", "serviceaccounts", attributes.namespace, &name).await?;
        let account = found.ok_or_else(|| refuse(&format!("serviceaccount \"{name}\" not found")))?;
        if wants_token(pod, &account) {
            mount_token(pod);
        }
        let secrets = account.get("imagePullSecrets").filter(|s| s.as_array().is_some_and(|s| !s.is_empty()));
        let spec = meta::map_mut(pod, "spec");
        let own = spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|s| !s.is_empty());
        if let (false, Some(secrets)) = (own, secrets) {
            spec.insert("imagePullSecrets".to_owned(), secrets.clone());
        }
        Ok(())
    }
}

fn is_mirror(pod: &Value) -> bool {
    meta::get(pod, "annotations").is_some_and(|a| a.get(MIRROR).is_some())
}

/// Mirror pods are a node's own: they must not reach into the cluster's credentials.
fn refuse_for_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<()> {
    let name = meta::path_text(pod, "spec.serviceAccountName");
    if !name.is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    for volume in volumes {
        let sources = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
        if sources.into_iter().any(|s| s.get("serviceAccountToken").is_some()) {
            return Err(attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
        }
    }
    Ok(())
}

fn wants_token(pod: &Value, account: &Value) -> bool {
    let own = pod.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool);
    own.or(account.get("automountServiceAccountToken").and_then(Value::as_bool)).unwrap_or(true)
}

/// Adds the volume, and mounts it where a container has nothing at its path.
fn mount_token(pod: &mut Value) {
    let spec = meta::map_mut(pod, "spec");
    let existing = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = existing.filter_map(|v| v.get("name").and_then(Value::as_str)).find(|n| n.starts_with(VOLUME));
    let there = existing.is_some();
    let name = existing.map_or_else(|| format!("{VOLUME}{}", component_base::rng::suffix(5)), str::to_owned);
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container.get("volumeMounts").and_then(Value::as_array).cloned().unwrap_or_default();
            if mounts.iter().any(|m| m.get("mountPath").and_then(Value::as_str) == Some(TOKEN_PATH)) {
                continue;
            }
            mounts.push(json!({ "name": name, "readOnly": true, "mountPath": TOKEN_PATH }));
            if let Value::Object(container) = container {
                container.insert("volumeMounts".to_owned(), mounts.into());
                mounted = true;
            }
        }
    }
    if mounted && !there {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(&name));
        }
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": { "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "path": "token", "expirationSeconds": TOKEN_SECONDS } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{
                "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
            }] } },
        ] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_mounted_once() {
        let mut pod = json!({ "spec": { "containers": [
            { "name": "a" }, { "name": "b", "volumeMounts": [{ "name": "own", "mountPath": TOKEN_PATH }] },
        ] } });
        mount_token(&mut pod);
        let volume = meta::path_text(&pod["spec"]["volumes"][0], "name");
        assert!(volume.starts_with(VOLUME));
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], volume.as_str());
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().map(Vec::len), Some(1));
        let again = pod.clone();
        mount_token(&mut pod);
        assert_eq!(pod, again);
    }
}
