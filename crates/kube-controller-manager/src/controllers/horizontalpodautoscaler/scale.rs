//! The scale of a target, of whatever kind.

use api_types::k8s_openapi::api::autoscaling::{v1::Scale, v2::CrossVersionObjectReference};
use kube::Client;

use crate::{
    discovery::{Discovered, Discovery},
    pods,
};

/// How often a size that somebody else changed meanwhile is written again.
const TRIES: usize = 5;

/// A target's scale as it was read.
pub(super) struct Target {
    path: String,
    pub(super) scale: Scale,
}

/// Reads the scale of a target.
pub(super) async fn read(
    client: &Client,
    discovery: &Discovery,
    namespace: &str,
    target: &CrossVersionObjectReference,
) -> Result<Target, String> {
    let group = group(target.api_version.as_deref().unwrap_or_default())?;
    let served = discovery.served().await.map_err(|error| pods::message(&error))?;
    let matching = served.resources.iter().filter(|known| known.group == group && known.kind == target.kind);
    let mut first_error = None;
    for resource in matching {
        let path = path(resource, namespace, &target.name);
        match get(client, &path).await {
            Ok(scale) => return Ok(Target { path, scale }),
            Err(error) => first_error = first_error.or(Some(pods::message(&error))),
        }
    }
    Err(first_error.unwrap_or_else(|| format!("no matches for kind \"{}\" in group \"{group}\"", target.kind)))
}

impl Target {
    pub(super) fn replicas(&self) -> i32 {
        self.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
    }

    /// Writes a size.
    pub(super) async fn resize(&mut self, client: &Client, replicas: i32) -> Result<(), String> {
        for round in 1.. {
            self.scale.spec.get_or_insert_default().replicas = Some(replicas);
            match put(client, &self.path, &self.scale).await {
                Ok(()) => break,
                Err(kube::Error::Api(status)) if status.is_conflict() && round < TRIES => {
                    self.scale = get(client, &self.path).await.map_err(|error| pods::message(&error))?;
                }
                Err(error) => return Err(pods::message(&error)),
            }
        }
        Ok(())
    }
}

fn group(api_version: &str) -> Result<&str, String> {
    match api_version.split('/').collect::<Vec<_>>()[..] {
        [group, _] => Ok(group),
        [_] => Ok(""),
        _ => Err(format!("unexpected GroupVersion string: {api_version}")),
    }
}

fn path(resource: &Discovered, namespace: &str, name: &str) -> String {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    format!("{root}/{}/namespaces/{namespace}/{}/{name}/scale", resource.api_version(), resource.plural)
}

async fn get(client: &Client, path: &str) -> Result<Scale, kube::Error> {
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

async fn put(client: &Client, path: &str, scale: &Scale) -> Result<(), kube::Error> {
    let body = serde_json::to_vec(scale).map_err(kube::Error::SerdeError)?;
    let request = http::Request::put(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request::<Scale>(request).await.map(drop)
}
