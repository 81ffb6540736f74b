//! `--authentication-config` and `--authorization-config`: apiserver.config.k8s.io, read and checked at start.

mod authentication;
mod authorization;

use std::path::Path;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(super) use authentication::{JwtConfig, read as read_authentication, read_oidc_flags};
pub(super) use authorization::read as read_authorization;

const GROUP: &str = "apiserver.config.k8s.io";

/// The object of this kind that a file has, in one of the versions.
fn load<T: DeserializeOwned>(path: &Path, kind: &str, versions: &[&str]) -> anyhow::Result<T> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&text, kind, versions).with_context(|| path.display().to_string())
}

fn parse<T: DeserializeOwned>(text: &[u8], kind: &str, versions: &[&str]) -> anyhow::Result<T> {
    let mut value: Value = serde_yaml::from_slice(text)?;
    let found = (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default());
    let known = found.0.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
    ensure!(
        known.is_some_and(|version| versions.contains(&version)) && found.1 == kind,
        "no kind {:?} is registered for version {:?}",
        found.1,
        found.0
    );
    if let Some(fields) = value.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    Ok(serde_json::from_value(value)?)
}
