//! Credentials for pulls, from the pod's image pull secrets.

use super::name::registry;
use crate::objects::Objects;
use crate::pod::PodExt;
use api_types::k8s_openapi::api::core::v1::{Pod, Secret};
use base64::Engine;
use k8s_cri::v1::AuthConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// The credentials of the pod that fit the image's registry.
pub(super) async fn for_image(objects: &Objects, pod: &Pod, image: &str) -> Result<Vec<AuthConfig>, String> {
    let mut found = Vec::new();
    for reference in pod.spec().image_pull_secrets.iter().flatten().filter(|reference| !reference.name.is_empty()) {
        let secret = objects.secret(pod.ns(), &reference.name).await.map_err(|error| error.to_string())?;
        // An absent secret is skipped, as upstream does: the image may be public.
        if let Some(secret) = secret {
            found.extend(of_secret(&secret, image));
        }
    }
    Ok(found)
}

fn of_secret(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let config = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            data(".dockerconfigjson").and_then(|text| serde_json::from_slice(text).ok())
        }
        Some("kubernetes.io/dockercfg") => {
            data(".dockercfg").and_then(|text| serde_json::from_slice(text).ok()).map(|auths| DockerConfig { auths })
        }
        _ => None,
    };
    let Some(config) = config else { return Vec::new() };
    let matching = config.auths.into_iter().filter(|(key, _)| matches(key, image));
    matching.filter_map(|(key, entry)| auth(&key, entry)).collect()
}

/// Whether the key of a Docker config covers the image: same host (`*` for a label), and the path is a prefix.
fn matches(key: &str, image: &str) -> bool {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let wanted = registry(image);
    let labels = (host.split('.'), wanted.split('.'));
    let same_host =
        host.split('.').count() == wanted.split('.').count() && labels.0.zip(labels.1).all(|(a, b)| a == "*" || a == b);
    let image_path = image.strip_prefix(wanted).unwrap_or(image).trim_start_matches('/');
    same_host && image_path.starts_with(path)
}

fn auth(server: &str, entry: Entry) -> Option<AuthConfig> {
    let (username, password) = match entry.username.is_empty() {
        false => (entry.username, entry.password),
        true => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            let (username, password) = text.split_once(':')?;
            (username.to_owned(), password.to_owned())
        }
    };
    Some(AuthConfig { username, password, server_address: server.to_owned(), ..AuthConfig::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_by_registry() {
        let config = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "*.example.com": {"username": "a", "password": "b"}}}"#;
        let secret: Secret = serde_json::from_value(serde_json::json!({"type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64::engine::general_purpose::STANDARD.encode(config)}}))
        .unwrap();
        let user = |image: &str| of_secret(&secret, image).first().map(|auth| auth.username.clone());
        assert_eq!(user("busybox:1").as_deref(), Some("u"));
        assert_eq!(user("reg.example.com/x").as_deref(), Some("a"));
        assert_eq!(user("other.io/x"), None);
    }
}
