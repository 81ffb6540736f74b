//! The files of configMap, secret, downwardAPI and projected volumes.

use super::fs_group;
use crate::agent::Agent;
use crate::host::{FileProjection, Payload};
use crate::pod::PodExt;
use crate::spec::fields::{self, Addresses};
use api_types::k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use component_helpers::resources::Amounts;
use std::collections::BTreeMap;

const DEFAULT_MODE: i32 = 0o644;
/// Upstream's default life of a projected token.
const TOKEN_SECONDS: i64 = 3600;

/// Permissions and ownership that all files of a volume share.
#[derive(Clone, Copy)]
struct Style {
    mode: i32,
    gid: Option<u32>,
}

impl Style {
    fn new(pod: &Pod, mode: Option<i32>) -> Self {
        Self { mode: mode.unwrap_or(DEFAULT_MODE), gid: fs_group(pod) }
    }

    /// A file; a group that the volume belongs to may read it.
    fn file(self, data: Vec<u8>, mode: Option<i32>) -> FileProjection {
        let group = if self.gid.is_some() { 0o440 } else { 0 };
        FileProjection { data, mode: mode.unwrap_or(self.mode) as u32 | group, uid: None, gid: self.gid }
    }
}

type Data = BTreeMap<String, Vec<u8>>;

/// The plugin's name and the files, for volumes made of files.
pub(super) async fn of_volume(
    agent: &Agent,
    pod: &Pod,
    volume: &Volume,
) -> Result<Option<(&'static str, Payload)>, String> {
    if let Some(source) = &volume.config_map {
        let style = Style::new(pod, source.default_mode);
        let data = config_map(agent, pod, &source.name, source.optional == Some(true)).await?;
        let files = select(&data, source.items.as_deref(), source.optional == Some(true), style, "config")?;
        return Ok(Some(("configmap", files)));
    }
    if let Some(source) = &volume.secret {
        let style = Style::new(pod, source.default_mode);
        let optional = source.optional == Some(true);
        let data = secret(agent, pod, source.secret_name.as_deref().unwrap_or_default(), optional).await?;
        return Ok(Some(("secret", select(&data, source.items.as_deref(), optional, style, "secret")?)));
    }
    if let Some(source) = &volume.downward_api {
        let style = Style::new(pod, source.default_mode);
        let addresses = addresses(agent, pod);
        return Ok(Some((
            "downward-api",
            downward(pod, source.items.as_deref(), style, &addresses, &agent.node.allocatable())?,
        )));
    }
    if let Some(source) = &volume.projected {
        let style = Style::new(pod, source.default_mode);
        let mut payload = Payload::new();
        for part in source.sources.iter().flatten() {
            payload.extend(projection(agent, pod, part, style).await?);
        }
        return Ok(Some(("projected", payload)));
    }
    Ok(None)
}

fn addresses(agent: &Agent, pod: &Pod) -> Addresses {
    let status = agent.statuses.status(pod);
    Addresses { pod: status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect(), host: agent.node.host_ips() }
}

async fn projection(agent: &Agent, pod: &Pod, part: &VolumeProjection, style: Style) -> Result<Payload, String> {
    if let Some(source) = &part.config_map {
        let optional = source.optional == Some(true);
        let data = config_map(agent, pod, &source.name, optional).await?;
        return select(&data, source.items.as_deref(), optional, style, "config");
    }
    if let Some(source) = &part.secret {
        let optional = source.optional == Some(true);
        let data = secret(agent, pod, &source.name, optional).await?;
        return select(&data, source.items.as_deref(), optional, style, "secret");
    }
    if let Some(source) = &part.downward_api {
        return downward(pod, source.items.as_deref(), style, &addresses(agent, pod), &agent.node.allocatable());
    }
    if let Some(source) = &part.service_account_token {
        return token(agent, pod, source, style).await;
    }
    Err("a projected source of this type (clusterTrustBundle, podCertificate) is not supported by this kubelet".into())
}

async fn token(
    agent: &Agent,
    pod: &Pod,
    source: &ServiceAccountTokenProjection,
    style: Style,
) -> Result<Payload, String> {
    let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
    let audience = source.audience.as_deref().unwrap_or_default();
    let token = agent.objects.token(pod, audience, seconds).await;
    let token = token.map_err(|error| format!("failed to fetch token: {error}"))?;
    let uid = common_user(pod);
    let mode = (uid.is_some() || style.gid.is_some()).then_some(0o600);
    let file = FileProjection { uid, ..style.file(token.into_bytes(), mode) };
    Ok(Payload::from([(source.path.clone(), file)]))
}

/// The user of all containers, when it is one and the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec().security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = (pod.init().iter().chain(pod.main()))
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

async fn config_map(agent: &Agent, pod: &Pod, name: &str, optional: bool) -> Result<Data, String> {
    let found: Option<ConfigMap> = agent.objects.config_map(pod.ns(), name).await.map_err(|error| error.to_string())?;
    let Some(map) = found else {
        return if optional { Ok(Data::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    Ok(text.chain(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0))).collect())
}

async fn secret(agent: &Agent, pod: &Pod, name: &str, optional: bool) -> Result<Data, String> {
    let found: Option<Secret> = agent.objects.secret(pod.ns(), name).await.map_err(|error| error.to_string())?;
    match found {
        Some(secret) => Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()),
        None if optional => Ok(Data::new()),
        None => Err(format!("secret {name:?} not found")),
    }
}

/// The keys that `items` name (all without them), under their paths.
fn select(
    data: &Data,
    items: Option<&[KeyToPath]>,
    optional: bool,
    style: Style,
    kind: &str,
) -> Result<Payload, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, value)| (key.clone(), style.file(value.clone(), None))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => drop(payload.insert(item.path.clone(), style.file(value.clone(), item.mode))),
            None if optional => {}
            None => return Err(format!("references non-existent {kind} key: {}", item.key)),
        }
    }
    Ok(payload)
}

fn downward(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    style: Style,
    addresses: &Addresses,
    allocatable: &Amounts,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items.into_iter().flatten() {
        let text = if let Some(field) = &item.field_ref {
            fields::field(pod, &field.field_path, addresses)?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let (_, container) = pod.container(name).ok_or_else(|| format!("container {name} not found"))?;
            fields::resource(&container, selector, allocatable)?
        } else {
            continue;
        };
        payload.insert(item.path.clone(), style.file(text.into_bytes(), item.mode));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn items_and_modes() {
        let data = Data::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let style = Style { mode: 0o400, gid: Some(7) };
        let all = select(&data, None, false, style, "config").unwrap();
        assert_eq!((all.len(), all["a"].mode, all["a"].gid), (2, 0o440, Some(7)));
        let item = |key: &str| KeyToPath { key: key.into(), path: "sub/x".into(), mode: Some(0o644) };
        let one = select(&data, Some(&[item("b")]), false, style, "config").unwrap();
        assert_eq!((one.len(), one["sub/x"].data.as_slice(), one["sub/x"].mode), (1, b"2".as_slice(), 0o644));
        let missing = select(&data, Some(&[item("c")]), false, style, "config");
        assert_eq!(missing.unwrap_err(), "references non-existent config key: c");
        assert!(select(&data, Some(&[item("c")]), true, style, "config").unwrap().is_empty());
    }

    #[test]
    fn one_user_owns_the_token() {
        let user = |spec: serde_json::Value| common_user(&from_value::<Pod>(json!({"spec": spec})).unwrap());
        assert_eq!(user(json!({"securityContext": {"runAsUser": 5}, "containers": [{"name": "a"}]})), Some(5));
        assert_eq!(
            user(json!({"containers": [{"name": "a", "securityContext": {"runAsUser": 5}}, {"name": "b"}]})),
            None
        );
    }
}
