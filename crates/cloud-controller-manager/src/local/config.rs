//! The file that `--cloud-config` names.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use cloud_provider::CloudError;
use serde::Deserialize;

const API_VERSION: &str = "keelson.dev/v1alpha1";
const KIND: &str = "LocalCloudConfig";

/// The machines and the network of a cluster on one machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LocalConfig {
    api_version: String,
    kind: String,
    #[serde(default = "default_region")]
    pub(super) region: String,
    /// The bridge that joins the nodes; names the cloud in provider IDs.
    pub(super) bridge: String,
    pub(super) load_balancer_range: Option<Range>,
    pub(super) instances: Vec<Instance>,
}

/// Addresses for load balancers, both ends included.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    pub(super) start: Ipv4Addr,
    pub(super) end: Ipv4Addr,
}

impl Range {
    pub(super) fn contains(self, ip: Ipv4Addr) -> bool {
        (self.start..=self.end).contains(&ip)
    }

    pub(super) fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.start.to_bits()..=self.end.to_bits()).map(Ipv4Addr::from_bits)
    }
}

/// A node's machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    /// Its network namespace.
    pub(super) netns: PathBuf,
    #[serde(default)]
    pub(super) zone: String,
    #[serde(default)]
    pub(super) instance_type: String,
}

fn default_region() -> String {
    "local".to_owned()
}

impl LocalConfig {
    pub(super) fn read(path: &Path) -> Result<Self, CloudError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| CloudError::with(format!("cannot read {}", path.display()), e))?;
        Self::parse(&text).map_err(|why| CloudError::new(format!("{}: {why}", path.display())))
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let config: LocalConfig = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if config.api_version != API_VERSION || config.kind != KIND {
            return Err(format!("want kind {KIND} of {API_VERSION}"));
        }
        if config.load_balancer_range.is_some_and(|r| r.start > r.end) {
            return Err("loadBalancerRange: the start lies behind the end".to_owned());
        }
        Ok(config)
    }

    pub(super) fn provider_id(&self, instance: &Instance) -> String {
        format!("local://{}/{}", self.bridge, instance.name)
    }
}
