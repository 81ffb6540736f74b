//! Pods from files on the node.

use super::dispatch::News;
use crate::agent::Agent;
use crate::pod::{self, PodExt};
use api_types::k8s_openapi::api::core::v1::{Pod, Toleration};
use component_base::clock;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Reads the manifests again and again, until shutdown.
pub(crate) async fn run(
    agent: Arc<Agent>,
    path: PathBuf,
    news: mpsc::UnboundedSender<News>,
    first: tokio::sync::oneshot::Sender<()>,
) {
    let mut known: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    let mut first = Some(first);
    loop {
        match read_all(&agent, &path).await {
            Ok(found) => {
                for news_item in difference(&known, &found) {
                    // The receiver ends with the kubelet only.
                    let _ended = news.send(news_item);
                }
                known = found;
                if let Some(first) = first.take() {
                    let _ended = first.send(());
                }
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "could not read static pods"),
        }
        tokio::time::sleep(agent.config.file_check).await;
    }
}

fn difference(old: &BTreeMap<String, Arc<Pod>>, new: &BTreeMap<String, Arc<Pod>>) -> Vec<News> {
    let gone = old.iter().filter(|(uid, _)| !new.contains_key(*uid)).map(|(_, pod)| News::Gone(pod.clone()));
    let fresh = new.iter().filter(|(uid, _)| !old.contains_key(*uid)).map(|(_, pod)| News::Pod(pod.clone()));
    gone.chain(fresh).collect()
}

async fn read_all(agent: &Agent, path: &Path) -> std::io::Result<BTreeMap<String, Arc<Pod>>> {
    let names = match agent.host.kind(path).await? {
        crate::host::PathKind::Directory => {
            let names = agent.host.list(path).await?;
            names.into_iter().filter(|name| !name.starts_with('.')).map(|name| path.join(name)).collect()
        }
        crate::host::PathKind::Absent => Vec::new(),
        _ => vec![path.to_path_buf()],
    };
    let mut pods = BTreeMap::new();
    for file in names {
        let Some(bytes) = agent.host.read(&file).await? else { continue };
        match parse(&bytes, &file, &agent.config.node.name) {
            Ok(pod) => drop(pods.insert(pod.pod_uid().to_owned(), Arc::new(pod))),
            Err(error) => tracing::error!(file = %file.display(), %error, "not a pod manifest"),
        }
    }
    Ok(pods)
}

/// A pod from a manifest, with API defaults and what makes it this node's own.
fn parse(bytes: &[u8], file: &Path, node: &str) -> Result<Pod, String> {
    let mut value: Value = serde_yaml::from_slice(bytes).map_err(|error| error.to_string())?;
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err("neither a v1 Pod in YAML nor in JSON".into());
    }
    let name = value["metadata"]["name"]
        .as_str()
        .filter(|name| !name.is_empty())
        .ok_or("metadata.name is required")?
        .to_owned();
    if let Some(strategy) = api_semantics::strategy_for("", "v1", "Pod") {
        strategy.default(&mut value);
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let hash = uid_of(bytes, file, node);
    let metadata = &mut pod.metadata;
    metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    metadata.namespace.get_or_insert_with(|| "default".into());
    metadata.uid.get_or_insert_with(|| hash.clone());
    let notes = metadata.annotations.get_or_insert_default();
    notes.insert(pod::SOURCE.into(), "file".into());
    notes.insert(pod::HASH.into(), hash);
    notes.insert(pod::SEEN.into(), clock::now().to_string());
    let spec = pod.spec.as_mut().ok_or("spec is required")?;
    spec.node_name = Some(node.to_owned());
    // A static pod stays whatever happens to the node.
    let everything =
        Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Toleration::default() };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&everything) {
        tolerations.push(everything);
    }
    if spec.containers.is_empty() {
        return Err("spec.containers is required".into());
    }
    Ok(pod)
}

fn uid_of(bytes: &[u8], file: &Path, node: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.update(format!("host:{node}file:{}", file.display()));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_this_nodes_pod() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";
        let parse = |text: &str| parse(text.as_bytes(), Path::new("/m/web.yaml"), "Node1");
        let pod = parse(text).unwrap();
        assert_eq!((pod.pod_name(), pod.ns()), ("web-node1", "default"));
        assert!(pod.is_static() && !pod.is_mirror());
        assert_eq!(pod.spec().restart_policy.as_deref(), Some("Always"), "API defaults apply");
        assert_eq!(pod.pod_uid(), parse(text).unwrap().pod_uid());
        assert_ne!(pod.pod_uid(), parse(&text.replace("image: i", "image: j")).unwrap().pod_uid());
        assert!(parse("kind: Service\napiVersion: v1\n").is_err());
    }
}
