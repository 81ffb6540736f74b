//! `--admission-control-config-file`: the configurations of plugins.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// Plugins that have a configuration.
const CONFIGURABLE: [&str; 5] =
    ["EventRateLimit", "PodNodeSelector", "PodSecurity", "PodTolerationRestriction", "ResourceQuota"];

/// Node selectors by namespace, and one for all others: `clusterDefaultNodeSelector`.
pub(super) type PodNodeSelectors = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TolerationRestriction {
    pub(super) default: Vec<Value>,
    pub(super) whitelist: Vec<Value>,
}

/// What holds for namespaces without labels, and for whom nothing holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodSecurityDefaults {
    /// `enforce`, `enforce-version`, `warn`, ...
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) exemptions: Exemptions,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Exemptions {
    pub(super) usernames: Vec<String>,
    pub(super) runtime_classes: Vec<String>,
    pub(super) namespaces: Vec<String>,
}

/// How many events a part of the cluster may write.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventLimit {
    /// `Server`, `Namespace`, `User` or `SourceAndObject`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Per second.
    pub(super) qps: u32,
    pub(super) burst: u32,
    /// How many namespaces, users or objects are told apart.
    #[serde(default = "cache_size")]
    pub(super) cache_size: usize,
}

fn cache_size() -> usize {
    4096
}

/// A resource that is used only where a quota allows it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LimitedResource {
    #[serde(default)]
    pub(super) api_group: String,
    pub(super) resource: String,
    /// Parts of the names of what is limited.
    #[serde(default)]
    pub(super) match_contains: Vec<String>,
}

/// The configurations of one file, by plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configurations(BTreeMap<String, Value>);

impl Configurations {
    /// Reads an `AdmissionConfiguration`.
    ///
    /// # Errors
    /// A file that can't be read, and configurations of plugins that have none.
    pub(crate) fn read(path: &Path) -> Result<Configurations> {
        let file = yaml(path)?;
        if file["kind"] != "AdmissionConfiguration" {
            bail!("{}: kind must be AdmissionConfiguration", path.display());
        }
        let mut all = BTreeMap::new();
        for plugin in file["plugins"].as_array().into_iter().flatten() {
            let name = plugin["name"].as_str().unwrap_or_default();
            if !CONFIGURABLE.contains(&name) {
                bail!("{}: admission plugin {name:?} takes no configuration here", path.display());
            }
            let configuration = match plugin["path"].as_str().filter(|p| !p.is_empty()) {
                // Relative to the file.
                Some(other) => yaml(&path.parent().unwrap_or(Path::new("")).join(other))?,
                None => plugin["configuration"].clone(),
            };
            all.insert(name.to_owned(), configuration);
        }
        let configurations = Configurations(all);
        configurations.check()?;
        Ok(configurations)
    }

    /// Reads everything once, so that what is wrong is known at start.
    fn check(&self) -> Result<()> {
        self.pod_security()?;
        self.pod_node_selector()?;
        self.toleration_restriction()?;
        self.event_limits()?;
        self.limited_resources().map(|_| ())
    }

    fn part<T: for<'d> Deserialize<'d> + Default>(&self, plugin: &str, field: Option<&str>) -> Result<T> {
        let Some(whole) = self.0.get(plugin) else { return Ok(T::default()) };
        let part = field.map_or(whole, |name| &whole[name]);
        if part.is_null() {
            return Ok(T::default());
        }
        serde_json::from_value(part.clone()).with_context(|| format!("configuration of {plugin}"))
    }

    pub(super) fn pod_security(&self) -> Result<PodSecurityDefaults> {
        self.part("PodSecurity", None)
    }

    pub(super) fn pod_node_selector(&self) -> Result<PodNodeSelectors> {
        self.part("PodNodeSelector", Some("podNodeSelectorPluginConfig"))
    }

    pub(super) fn toleration_restriction(&self) -> Result<TolerationRestriction> {
        self.part("PodTolerationRestriction", None)
    }

    pub(super) fn event_limits(&self) -> Result<Vec<EventLimit>> {
        self.part("EventRateLimit", Some("limits"))
    }

    pub(super) fn limited_resources(&self) -> Result<Vec<LimitedResource>> {
        self.part("ResourceQuota", Some("limitedResources"))
    }
}

fn yaml(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Configurations> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("admission.yaml");
        std::fs::write(&path, text).expect("written");
        Configurations::read(&path)
    }

    #[test]
    fn configurations_are_read() {
        let all = read(
            "kind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  configuration:\n    defaults: {enforce: baseline}\n    exemptions: {namespaces: [kube-system]}\n- name: EventRateLimit\n  configuration:\n    limits: [{type: Server, qps: 1, burst: 2}]\n",
        )
        .expect("reads");
        let security = all.pod_security().expect("pod security");
        assert_eq!((security.defaults["enforce"].as_str(), security.exemptions.namespaces.len()), ("baseline", 1));
        assert_eq!(all.event_limits().expect("limits")[0].burst, 2);
        assert!(all.pod_node_selector().expect("selectors").is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        assert!(read("kind: Nope").is_err());
        assert!(read("kind: AdmissionConfiguration\nplugins: [{name: AlwaysDeny}]").is_err());
        let wrong =
            "kind: AdmissionConfiguration\nplugins: [{name: EventRateLimit, configuration: {limits: [{qps: x}]}}]";
        assert!(read(wrong).is_err());
    }
}
